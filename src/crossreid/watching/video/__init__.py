"""Frames of a camera: films, folders and streams, decoded in processes of their own."""
