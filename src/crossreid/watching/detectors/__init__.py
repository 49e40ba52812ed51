"""Detectors, one kind a file; each registers itself by the name that `crossreid.watching.detectors.detector_registry` finds it by."""
