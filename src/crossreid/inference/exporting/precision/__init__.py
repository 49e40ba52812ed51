"""Exported networks below float32: fp16 and int8, the images for int8's ranges, and the cost of the precision.

* `lowering` turns a float32 file into one of lower precision: `onnx_fp16` and `onnx_int8` for ONNX Runtime,
  `openvino_precision` for OpenVINO.
* `range_images` chooses the training images for measuring activations, equally many per modality; never test images.
* `fidelity` compares a file with the run's own network on the run's test images: cosines, and scores by its protocol.
* `fingerprints` determines which files' embeddings may be compared with those of float32.
"""
