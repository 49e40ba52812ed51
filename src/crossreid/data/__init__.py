"""Data sets as records, images as tensors, batches as plans."""
