"""Exported networks below float32: fp16 and int8, the images that give int8 its ranges, and what the precision costs.

* `lowering` turns a float32 file into one of lower precision: `onnx_fp16` and `onnx_int8` for ONNX Runtime,
  `openvino_precision` for OpenVINO.
* `range_images` chooses training images, both modalities equally, that activations are measured on; test images never are.
* `fidelity` compares a file with the run's own network on the run's test images: cosines, and scores by its protocol.
* `fingerprints` says which files' embeddings may be compared with those of float32.
"""
