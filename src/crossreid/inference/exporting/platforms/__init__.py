"""What other people's servers and pipelines want beside an exported file: DeepStream, Triton, TensorRT."""
