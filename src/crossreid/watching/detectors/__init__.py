"""Detectors, one kind per file; each registers itself by name in `crossreid.watching.detectors.detector_registry`."""
