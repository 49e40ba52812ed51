"""The engines that compute a network's embeddings, one file per engine: torch, ONNX Runtime, OpenVINO, torch.export."""
