"""Files that third-party servers and pipelines need beside an exported file: DeepStream, Triton, TensorRT."""
