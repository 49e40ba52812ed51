"""fp16 and int8 of runs on disk, for ONNX Runtime and OpenVINO: what they cost, whose they are, and what is refused."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from crossreid.data.records import labels_of
from crossreid.data.synthetic import synthesise
from crossreid.inference.embedding_model import prepared
from crossreid.inference.exporting.export import export
from crossreid.inference.exporting.precision.lowering import Lowering
from crossreid.inference.open_model import open_model
from crossreid.runs.evaluate import evaluate
from crossreid.runs.run import open_split
from served import Place, files, served
from small_model import TRANSFORMER, recipe_of, write_run
from tiny_backbone import TINY_NETWORK
from tiny_backbone import tiny_backbone as tiny_backbone
from typed_commands import ran, refused

FEW = Lowering(12)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("lowering") / "world"
    synthesise(place, "sysu-mm01", 8, 5, images_per_camera=1, size=(96, 48), workers=1)
    return place


def run_on(world, folder, method="baseline", **given):
    recipe = recipe_of(method, **given)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": world})})
    write_run(folder, recipe, len(labels_of(open_split(recipe).train)))
    return recipe


@pytest.fixture(scope="module")
def baseline(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lowering") / "run"
    return folder, run_on(world, folder)


@pytest.fixture(scope="module")
def int8(baseline):
    return export(baseline[0], precision="int8", lowering=FEW)


def test_int8_of_a_resnet_is_measured_as_it_is_and_the_same_twice(baseline, int8, tmp_path):
    (folder, recipe), written = baseline, int8
    assert written.path == folder / "model.int8.onnx"
    kinds = {node.op_type for node in onnx.load(str(written.path)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    again = export(folder, out=tmp_path / "again.onnx", precision="int8", lowering=Lowering(12, scores=False))
    assert open_model(again.path).fingerprint == open_model(written.path).fingerprint, "the same images, the same graph"

    ours, split = open_model(folder, device="cpu"), open_split(recipe)
    images, modalities = prepared(ours, split.test)
    session = onnxruntime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    given = {"images": images.numpy(), "modalities": modalities.numpy()}
    theirs = session.run(["embeddings"], given)[0].astype(np.float64)
    cosines = (ours.embed(images, modalities).numpy() * theirs).sum(1)
    cost = written.fidelity
    assert (cost.images, cost.calibrated_on) == (len(split.test), 12)
    assert cost.mean_cosine == pytest.approx(cosines.mean(), abs=1e-5)
    assert cost.least_cosine == pytest.approx(cosines.min(), abs=1e-5)
    assert cost.least_cosine > 0.98
    full = evaluate(folder)[0]
    assert cost.scores["mAP"][0] == pytest.approx(full.mAP)
    assert cost.scores["rank-1"][0] == pytest.approx(full.rank(1))

    facts = json.loads(session.get_modelmeta().custom_metadata_map["crossreid"])
    assert facts["fidelity"]["scores"]["mAP"] == list(cost.scores["mAP"])
    assert facts["ranges"] == {"images": {"visible": 6, "infrared": 6}, "data": "sysu-mm01"}
    opened = open_model(written.path)
    assert facts["of"] == ours.fingerprint != opened.fingerprint, "a gallery of float32 refuses it"
    assert opened.precision == "int8"


def test_int8_embeds_and_serves_and_galleries_keep_it_apart(baseline, int8, world, tmp_path, capsys):
    """One gallery of float32's embeddings, one of int8's: each takes and serves its own model alone."""
    (folder, _), file = baseline, int8.path
    crops, models = world / "cam1", {"float32": folder, "int8": file}
    for name, model in models.items():
        ran("embed", model, crops, "--out", tmp_path / name, "--device", "cpu")
        ran("gallery", "add", tmp_path / f"{name}.gallery", tmp_path / name)
    for name, other in (("float32", "int8"), ("int8", "float32")):
        told = refused(capsys, "gallery", "add", tmp_path / f"{name}.gallery", tmp_path / other)
        assert "cannot be compared" in told, told
        told = refused(capsys, "serve", models[other], tmp_path / f"{name}.gallery", "--insecure", "--port", "1")
        assert "cannot be compared" in told, told
    place = Place(folder, world, tmp_path / "int8.gallery")
    with (
        served(place, tmp_path / "state", model=open_model(file), explain=False) as running,
        running.client() as client,
    ):
        picture = sorted(crops.rglob("*.jpg"))[0]
        (best, *_) = client.post("/v1/search/images", files=files([picture]), data={"k": 1}).json()["matches"]
        assert best["score"] == pytest.approx(1, abs=1e-5)
        assert best["entry"]["id"].endswith(picture.name)


def test_fp16_keeps_the_fingerprint_and_needs_no_data(baseline, world, tmp_path, tiny_backbone):
    folder, _ = baseline
    written = export(folder, precision="fp16", lowering=Lowering(scores=False))
    assert written.fidelity.least_cosine > 0.9999
    assert written.fidelity.scores == {}
    assert written.path.stat().st_size < 0.6 * export(folder).path.stat().st_size
    ours, opened = open_model(folder, device="cpu"), open_model(written.path)
    assert (opened.fingerprint, opened.precision) == (ours.fingerprint, "fp16")
    write_run(tmp_path / "alone", recipe_of("baseline", network=TINY_NETWORK))
    told = []
    alone = export(tmp_path / "alone", precision="fp16", say=told.append)
    assert alone.fidelity.scores == {}
    assert "not at hand" in told[0]


@pytest.mark.parametrize(
    ("method", "given"),
    [("variational_distillation", {"network": TINY_NETWORK}), ("baseline", {"network": TRANSFORMER})],
    ids=["three branches", "a transformer"],
)
def test_int8_of_other_networks(method, given, world, tmp_path, tiny_backbone):
    recipe = run_on(world, tmp_path / "run", method, **given)
    written = export(tmp_path / "run", precision="int8", lowering=Lowering(12, scores=False))
    assert written.fidelity.least_cosine > 0.9
    ours, opened = open_model(tmp_path / "run", device="cpu"), open_model(written.path)
    images, modalities = prepared(ours, open_split(recipe).test[:6])
    for kinds in (modalities, 1 - modalities):
        cosines = (ours.embed(images, kinds) * opened.embed(images, kinds)).sum(1)
        assert float(cosines.min()) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_openvino(precision, baseline, tmp_path):
    pytest.importorskip("nncf")
    folder, _ = baseline
    out = tmp_path / "model.xml"
    written = export(folder, "openvino", out, precision=precision, lowering=Lowering(8, scores=False))
    ours, opened = open_model(folder, device="cpu"), open_model(written.path)
    assert (opened.fingerprint == ours.fingerprint) == (precision == "fp16")
    assert opened.precision == precision
    assert written.fidelity.least_cosine > (0.9999 if precision == "fp16" else 0.95)
    if precision == "int8":
        again = export(folder, "openvino", tmp_path / "again.xml", precision="int8", lowering=Lowering(8, scores=False))
        assert open_model(again.path).fingerprint == opened.fingerprint, "the same images, the same graph"
    assert torch.isfinite(opened.features(torch.zeros(3, 3, 48, 32), torch.tensor([0, 1, 0]))).all()


def test_the_command_prints_both_side_by_side(baseline, tmp_path):
    folder, _ = baseline
    out = tmp_path / "of_command.onnx"
    said = ran("export", folder, "--precision", "int8", "--calibration-images", "4", "--batch", "3", "--out", out)
    assert "ranges of 4 training images" in said
    assert "float32" in said
    assert "least" in said  # headings break between words
    assert out.is_file()


def test_what_is_refused(baseline, world, tmp_path, capsys, tiny_backbone):
    folder, _ = baseline
    write_run(tmp_path / "alone", recipe_of("baseline", network=TINY_NETWORK))
    assert "--set data.root=DIR" in refused(capsys, "export", tmp_path / "alone", "--precision", "int8")
    assert not (tmp_path / "alone" / "model.int8.onnx").exists()
    assert "torch-export" not in refused(capsys, "export", folder, "--precision", "fp16", "--calibration-images", "4")
    assert "float32" in refused(capsys, "export", folder, "--to", "torch-export", "--precision", "fp16")
    assert "--no-measure-scores" in refused(capsys, "export", folder, "--no-measure-scores")
    assert "stay" in refused(capsys, "export", folder, "--precision", "int8", "--set", "data.height=64")
    moved = tmp_path / "moved"
    shutil.copytree(world, moved)
    found = export(tmp_path / "alone", precision="int8", lowering=Lowering(4, [f"data.root={moved}"], scores=False))
    assert found.fidelity.calibrated_on == 4
