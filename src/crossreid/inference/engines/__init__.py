"""What computes a network's embeddings, one file per engine: torch, ONNX Runtime."""
