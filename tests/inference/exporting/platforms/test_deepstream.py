"""DeepStream's files: its documented keys and nothing else, and a network that gives torch's embeddings of pixels as they are."""

import configparser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml

from crossreid.data.images import load_image
from crossreid.data.records import Modality
from crossreid.data.synthetic import synthesise
from crossreid.data.transforms import resized
from crossreid.inference.open_model import open_model
from crossreid.inference.sources import source_records
from exported_run import exported_run
from tiny_backbone import TINY_NETWORK
from tiny_backbone import tiny_backbone_of_module as tiny_backbone_of_module
from typed_commands import ran, refused


def whole(low, high=None):
    return lambda value: type(value) is int and value >= low and (high is None or value <= high)


def boolean(value):
    return value in (0, 1) and type(value) is int


def text(value):
    return isinstance(value, str) and value != ""


def above_zero(value):
    return type(value) is float and value > 0


# docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvtracker.html, the table of the module ReID.
TRACKER = {
    "reidType": whole(0, 3), "batchSize": whole(1), "workspaceSize": whole(1), "reidFeatureSize": whole(1),
    "reidHistorySize": whole(1), "inferDims": lambda v: len(v) == 3 and all(map(whole(1), v)), "inputOrder": whole(0, 1),
    "colorFormat": whole(0, 1), "networkMode": whole(0, 2),
    "offsets": lambda v: len(v) == 3 and all(isinstance(one, float) for one in v), "netScaleFactor": above_zero,
    "addFeatureNormalization": boolean, "tltEncodedModel": text, "tltModelKey": text, "onnxFile": text, "modelEngineFile": text,
    "calibrationTableFile": text, "keepAspc": boolean, "outputReidTensor": boolean, "useVPICropScaler": boolean,
    "minVisibility4GalleryUpdate": lambda v: 0 <= v <= 1,
}  # fmt: skip


def number(low, high=None):
    return lambda value: value.isdecimal() and whole(low, high)(int(value))


def numbers(low, count=3, kind=int):
    return lambda value: len(value.split(";")) == count and all(kind(one) >= low for one in value.split(";"))


# docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html, the table of the group [property].
INFER = {
    "num-detected-classes": number(1), "net-scale-factor": lambda v: float(v) > 0, "model-file": text, "proto-file": text,
    "int8-calib-file": text, "batch-size": number(1), "model-engine-file": text, "onnx-file": text, "interval": number(0),
    "labelfile-path": text, "mean-file": text, "gie-unique-id": number(1), "operate-on-gie-id": number(0),
    "operate-on-class-ids": text, "model-color-format": number(0, 2), "network-mode": number(0, 2),
    "offsets": numbers(0, kind=float), "output-blob-names": text, "maintain-aspect-ratio": number(0, 1), "gpu-id": number(0),
    "network-type": lambda v: v in ("0", "1", "2", "3", "100"), "output-tensor-meta": number(0, 1), "process-mode": number(1, 2),
    "scaling-filter": number(0), "scaling-compute-hw": number(0, 2), "infer-dims": numbers(1), "network-input-order": number(0, 1),
    "workspace-size": number(0), "secondary-reinfer-interval": number(0), "symmetric-padding": number(0, 1),
    "input-object-min-width": number(0), "input-object-min-height": number(0), "force-implicit-batch-dim": number(0, 1),
}  # fmt: skip


def faults(section, documented):
    unknown = [f"{key} is not documented" for key in section if key not in documented]
    return unknown + [
        f"{key} is {value!r}" for key, value in section.items() if key in documented and not documented[key](value)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_backbone_of_module):
    place = tmp_path_factory.mktemp("deepstream")
    return exported_run(place, platforms=["deepstream"], modality="infrared", flip=True, network=TINY_NETWORK)


def tracker(folder):
    return yaml.safe_load((folder / "config_tracker_reid.yml").read_text())["ReID"]


def inference(folder):
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.read_string((folder / "config_infer_secondary_reid.txt").read_text())
    assert parser.sections() == ["property"]
    return dict(parser["property"])


def test_keys_are_documented_ones_within_their_ranges(made):
    _, _, platforms = made
    folder = platforms["deepstream"].folder
    assert faults(tracker(folder), TRACKER) == []
    assert faults(inference(folder), INFER) == []


def test_the_schema_finds_faults():
    assert faults({"reidtype": 2, "networkMode": 3, "keepAspc": True}, TRACKER) == [
        "reidtype is not documented", "networkMode is 3", "keepAspc is True",
    ]  # fmt: skip
    assert faults({"net-scale": "1", "infer-dims": "3;0;5"}, INFER) == [
        "net-scale is not documented",
        "infer-dims is '3;0;5'",
    ]


def test_both_say_what_the_network_is(made):
    run, exported, platforms = made
    folder = platforms["deepstream"].folder
    section, keys = tracker(folder), inference(folder)
    graph = onnx.load(folder / section["onnxFile"]).graph
    (given,), (found,) = graph.input, graph.output
    shape = [each.dim_value for each in given.type.tensor_type.shape.dim]
    assert shape == [0, *section["inferDims"]] == [0, *map(int, keys["infer-dims"].split(";"))], (
        "any batch, then C, H, W"
    )
    assert found.type.tensor_type.shape.dim[1].dim_value == section["reidFeatureSize"] == exported.dimension
    assert keys["onnx-file"] == section["onnxFile"] == "reid_infrared.onnx"
    assert keys["output-blob-names"] == found.name
    assert (keys["network-type"], keys["process-mode"], keys["output-tensor-meta"]) == ("100", "2", "1")
    assert section["batchSize"] == int(keys["batch-size"]) == 8
    assert (section["netScaleFactor"], section["offsets"]) == (1.0, [0.0] * 3)
    for name in ("config_tracker_reid.yml", "config_infer_secondary_reid.txt"):
        written = (folder / name).read_text()
        assert "not run here" in written
        assert "interpolation" in written
        assert run.name not in written


def test_pixels_as_they_are_give_the_embeddings_of_torch(made, tmp_path):
    """Bytes of resized pictures, one modality, in batches of several sizes; torch normalises them by the recipe's numbers."""
    run, _, platforms = made
    folder = platforms["deepstream"].folder
    assert platforms["deepstream"].difference < 1e-4
    synthesise(tmp_path / "world", "manifest", 4, 3, images_per_camera=1, size=(96, 48), workers=1)
    records = source_records(str(tmp_path / "world"))
    model = open_model(run, device="cpu", fuse=False)
    seen = model.preprocessing
    images = np.stack([resized(load_image(record), seen.height, seen.width, seen.interpolation) for record in records])
    assert images.dtype == np.uint8
    expected = model.embed(
        torch.stack([model.transform(load_image(record)) for record in records]),
        torch.full((len(records),), int(Modality.INFRARED)),
    ).numpy()
    session = onnxruntime.InferenceSession(folder / "reid_infrared.onnx", providers=["CPUExecutionProvider"])
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
    for size in (1, 3, len(pixels)):
        (found,) = session.run(None, {"images": pixels[:size]})
        np.testing.assert_allclose(found, expected[:size], atol=1e-4)
    visible = model.embed(
        torch.stack([model.transform(load_image(record)) for record in records]),
        torch.zeros(len(records), dtype=torch.int64),
    ).numpy()
    assert np.abs(visible - expected).max() > 1e-2, "the modality does matter here"


def test_a_network_that_depends_on_modality_asks_for_one(made, capsys):
    run, _, _ = made
    command = ["export", run, "--for", "deepstream", "--out", run / "other.onnx"]
    assert "--modality visible or --modality infrared" in refused(capsys, *command)
    assert not (run / "other.onnx").exists(), "it is refused before any work"
    assert "already is an exported file" in refused(capsys, "export", run / "model.onnx", "--for", "deepstream")
    assert "expected visible or infrared" in refused(
        capsys, "export", run, "--for", "deepstream", "--modality", "thermal"
    )
    assert "--modality visible is for --for deepstream" in refused(capsys, "export", run, "--modality", "visible")


def test_one_that_does_not_needs_none(tmp_path, tiny_backbone_of_module):
    run, _, _ = exported_run(tmp_path, "baseline", platforms=[], network=TINY_NETWORK)
    told = ran("export", run, "--for", "deepstream,tensorrt", "--for", "triton", "--for", "triton")
    for name in ("deepstream", "tensorrt", "triton"):
        assert told.count(f"for {name}, not run here") == 1
    assert Path(run / "model.onnx.deepstream" / "reid_visible.onnx").is_file()
