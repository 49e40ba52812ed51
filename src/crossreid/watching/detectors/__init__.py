"""Detectors, one kind a file; each registers itself by the name that `crossreid.watching.detector_registry` finds it by."""
