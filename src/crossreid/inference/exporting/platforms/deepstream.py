"""A re-identification network in NVIDIA DeepStream: its tracker's ReID section, and a secondary inference's file.

Keys and types are those of NVIDIA's pages on Gst-nvtracker and Gst-nvinfer (DeepStream 6.4 to 9.2), ranges those of the
first. Neither was run here: DeepStream needs an NVIDIA GPU. The network takes pixels (`pixel_network`), so that scale 1
and offsets 0 are exact.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.files import replacing, write_text
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.exported import Exported, ExportPrecision
from crossreid.inference.exporting.platforms.pixel_network import INPUT, OUTPUT, pixel_difference, write_pixel_onnx

TRACKER, INFER = "config_tracker_reid.yml", "config_infer_secondary_reid.txt"
TOLERANCE = 1e-4
# The two plugins number precisions differently.
_TRACKER_MODES: dict[ExportPrecision, int] = {"float32": 0, "fp16": 1}
_INFER_MODES: dict[ExportPrecision, int] = {"float32": 0, "fp16": 2}
_ENGINE_NAMES: dict[ExportPrecision, str] = {"float32": "fp32", "fp16": "fp16"}

_TRACKER_HEAD = """\
# The ReID section of a Gst-nvtracker configuration: put it in place of that of NVIDIA's
# config_tracker_NvDCF_accuracy.yml (reidType 2 or 3, with TrajectoryManagement's enableReAssoc: 1) or
# config_tracker_NvDeepSORT.yml (reidType 1). Written by crossreid; not run here.
# {network} takes {modality} RGB pixels, 0 to 255: their scale and offsets are in the network.
# keepAspc 0, as in training the aspect ratio was not kept. DeepStream resizes by its own interpolation, without the
# antialiasing of training: embeddings differ a little from crossreid's own. Measure on your own crops.
# Paths are relative to this file, which DeepStream before 9.2 may not resolve: make them absolute there.
# Fingerprint of the weights: {fingerprint}
"""
_INFER_HEAD = """\
# Gst-nvinfer on the objects of a detector, whose gie-unique-id is operate-on-gie-id: embeddings as tensor metadata
# (NvDsInferTensorMeta of each object, layer {output}). Written by crossreid; not run here.
# {network} takes {modality} RGB pixels, 0 to 255: their scale and offsets are in the network.
# maintain-aspect-ratio 0, as in training. DeepStream resizes by its own interpolation, without the antialiasing of
# training: embeddings differ a little from crossreid's own. Measure on your own crops.
# Fingerprint of the weights: {fingerprint}
"""


def write_deepstream(
    model: TorchModel, exported: Exported, folder: Path, modality: Modality, batch: int
) -> tuple[Path, float]:
    """Write the pixel network and both configurations into `folder`; return it and the largest difference from torch.

    Raises:
        CrossreidError: the pixel network cannot be written, or differs from torch's by more than 1e-4.
    """
    network = f"reid_{modality.name.lower()}.onnx"
    with replacing(folder / network, durable=True) as temporary:
        write_pixel_onnx(model, modality, temporary, folder / f"{network}.log")
        difference = pixel_difference(model, modality, temporary)
        if not difference <= TOLERANCE:
            raise CrossreidError(
                f"{model.source}: the network for DeepStream differs from torch's by {difference:.2e}, more than "
                f"{TOLERANCE:.0e}. Nothing was written."
            )
    write_text(folder / TRACKER, tracker_text(model, exported.precision, modality, batch))
    write_text(folder / INFER, infer_text(model, exported.precision, modality, batch))
    return folder, difference


def tracker_text(model: TorchModel, precision: ExportPrecision, modality: Modality, batch: int) -> str:
    """Return the tracker's ReID section, as YAML."""
    seen, kind = model.preprocessing, modality.name.lower()
    network = f"reid_{kind}.onnx"
    section = {
        "reidType": 2,  # DUMMY 0, NvDeepSORT 1, re-association 2, both 3
        "outputReidTensor": 1,
        "batchSize": batch,
        "workspaceSize": 1000,
        "reidFeatureSize": model.dimension,
        "reidHistorySize": 100,
        "inferDims": [3, seen.height, seen.width],
        "networkMode": _TRACKER_MODES[precision],
        "inputOrder": 0,
        "colorFormat": 0,
        "offsets": [0.0, 0.0, 0.0],
        "netScaleFactor": 1.0,
        "keepAspc": 0,
        "addFeatureNormalization": 0,  # the network's embeddings have length 1
        "onnxFile": network,
        "modelEngineFile": f"{network}_b{batch}_gpu0_{_ENGINE_NAMES[precision]}.engine",
    }
    head = _TRACKER_HEAD.format(network=network, modality=kind, fingerprint=model.fingerprint)
    return head + yaml.safe_dump({"ReID": section}, sort_keys=False, default_flow_style=None, width=1000)


def infer_text(model: TorchModel, precision: ExportPrecision, modality: Modality, batch: int) -> str:
    """Return the file of a secondary Gst-nvinfer, as a GLib key file."""
    seen, kind = model.preprocessing, modality.name.lower()
    network = f"reid_{kind}.onnx"
    keys = {
        "gpu-id": 0,
        "gie-unique-id": 2,
        "process-mode": 2,
        "operate-on-gie-id": 1,
        "network-type": 100,
        "output-tensor-meta": 1,
        "output-blob-names": OUTPUT,
        "onnx-file": network,
        "model-engine-file": f"{network}_b{batch}_gpu0_{_ENGINE_NAMES[precision]}.engine",
        "batch-size": batch,
        "network-mode": _INFER_MODES[precision],
        "infer-dims": f"3;{seen.height};{seen.width}",
        "network-input-order": 0,
        "model-color-format": 0,
        "net-scale-factor": 1.0,
        "offsets": "0.0;0.0;0.0",
        "maintain-aspect-ratio": 0,
        "scaling-filter": 1,
    }
    head = _INFER_HEAD.format(network=network, modality=kind, fingerprint=model.fingerprint, output=OUTPUT, input=INPUT)
    return head + "[property]\n" + "".join(f"{key}={value}\n" for key, value in keys.items())
