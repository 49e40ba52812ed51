"""Frames of a camera: films, folders and streams, decoded in separate processes."""
