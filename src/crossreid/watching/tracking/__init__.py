"""Tracks within a camera, and the key frames and embeddings that represent them."""
