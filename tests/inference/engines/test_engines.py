"""OpenVINO and torch.export give what torch gives, and refuse files that were changed."""

import json
import logging
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch

import crossreid
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.files import write_text
from crossreid.inference.embedding_files import read_embeddings
from crossreid.inference.embedding_model import prepared
from crossreid.inference.exporting.agreement import largest_difference
from crossreid.inference.exporting.export import export
from crossreid.inference.exporting.openvino_graph import _logging_as_it_was
from crossreid.inference.open_by_engine import open_by_engine
from crossreid.inference.open_model import open_model
from crossreid.inference.sources import source_records
from small_model import recipe_of, write_run
from small_transformers import small_transformers  # noqa: F401
from tiny_backbone import TINY_NETWORK, WITHOUT_NON_LOCAL
from tiny_backbone import tiny_backbone_of_module as tiny_backbone_of_module
from typed_commands import ran

SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_backbone_of_module):
    """A world of people and a run of it, exported to every target by the command."""
    place = tmp_path_factory.mktemp("engines")
    synthesise(place / "world", "manifest", 4, 5, images_per_camera=1, size=(96, 48), workers=1)
    recipe = recipe_of("agw", network=WITHOUT_NON_LOCAL, stages={"stems": 2})
    write_run(place / "run", recipe)
    text = (
        recipe.as_yaml().replace("name: sysu-mm01", "name: manifest").replace("/nowhere/at/all", str(place / "world"))
    )
    write_text(place / "run" / "recipe.yaml", text)
    for target in SUFFIX:
        said = " ".join(ran("export", place / "run", "--to", target).split())
        assert re.search(r"differs from torch by at most \d\.\de-0[5-9] on \d+ images of its test set$", said), said
    return place


@pytest.fixture(scope="module")
def records(place):
    return source_records(str(place / "world"))


@pytest.mark.parametrize("target", SUFFIX)
def test_batches_of_any_size_and_mixture(target, place, records):
    ours = open_model(place / "run", device="cpu", fuse=False)
    theirs = open_model(place / "run" / f"model{SUFFIX[target]}", device="cpu")
    images, modalities = prepared(ours, records[:13])
    for rows in (slice(0, 1), modalities == 0, modalities == 1, slice(None)):
        for call in ("embed", "features"):
            expected, found = (getattr(model, call)(images[rows], modalities[rows]) for model in (ours, theirs))
            apart = (found - expected).abs() / expected.norm(dim=1, keepdim=True)
            assert float(apart.max()) < 1e-4, (call, rows)
    for attribute in ("fingerprint", "dimension", "flip", "method", "preprocessing"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert (theirs.runtime, theirs.precision, theirs.batch) == (target, "float32", None)
    other = theirs.embed(images, 1 - modalities)
    assert float((other - theirs.embed(images, modalities)).abs().max()) > 1e-2, "the modality does matter"


@pytest.mark.usefixtures("small_transformers")
@pytest.mark.parametrize(
    ("target", "method", "network", "given"),
    [
        ("openvino", "implicit_knowledge", "small_eva", {"stages": {"split": 2}, "test_features": "both"}),
        ("openvino", "baseline", "small_swin", {}),
        ("torch-export", "baseline", "small_vit4", {}),
        ("torch-export", "agw", "test_resnet", {}),
    ],
)
@pytest.mark.slow
def test_transformers_streams_and_branches(target, method, network, given, records, tmp_path, capfd):
    backbone = {"name": network, "weights": "none", "last_stride_one": False}
    write_run(tmp_path / "run", recipe_of(method, network=backbone, **given))
    written = export(tmp_path / "run", target)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert written.log is None
    assert not list((tmp_path / "run").glob("*.log"))
    ours, theirs = open_model(tmp_path / "run", device="cpu", fuse=False), open_model(written.path, device="cpu")
    images, modalities = prepared(ours, records[:6])
    assert largest_difference(ours, theirs, images, modalities) < 1e-4


@pytest.mark.parametrize("target", SUFFIX)
def test_a_file_of_one_batch_size_embeds_any_number(target, place, records, tmp_path):
    written = export(place / "run", target, tmp_path / f"four{SUFFIX[target]}", batch=4)
    theirs = open_model(written.path, device="cpu")
    assert theirs.batch == written.batch == 4
    ours = open_model(place / "run", device="cpu")
    images, modalities = prepared(ours, records[:9])
    for count in (1, 4, 9):
        found = theirs.embed(images[:count], modalities[:count])
        np.testing.assert_allclose(found, ours.embed(images[:count], modalities[:count]), atol=1e-4)


def copied(place, target, to):
    for suffix in (SUFFIX[target], ".bin") if target == "openvino" else (SUFFIX[target],):
        shutil.copy(place / "run" / f"model{suffix}", to)
    return to / f"model{SUFFIX[target]}"


def places(part, whole):
    """Bytes of a file; of an archive those of its largest parts, as others only fill it up."""
    if part.suffix != ".pt2":
        return np.random.default_rng(0).integers(len(whole) // 8, len(whole) * 7 // 8, 3)
    with zipfile.ZipFile(part) as archive:
        parts = sorted(archive.infolist(), key=lambda each: each.file_size)[-3:]
        return [whole.index(archive.read(each)) + each.file_size // 2 for each in parts]


@pytest.mark.parametrize("target", ["openvino", "torch-export"])
def test_flipped_bits_are_found(target, place, tmp_path):
    file = copied(place, target, tmp_path)
    parts = [file, *tmp_path.glob("*.bin")]
    for part in parts:
        whole = part.read_bytes()
        for at in places(part, whole):
            damaged = bytearray(whole)
            damaged[at] ^= 4
            part.write_bytes(damaged)
            with pytest.raises(
                CrossreidError, match=r"model\.(xml|pt2)(: its| is damaged| cannot be opened| does not state)"
            ):
                open_model(file, device="cpu")
        part.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(
            CrossreidError, match=r"model\.(xml|pt2)(: its| is damaged| cannot be opened| does not state)"
        ):
            open_model(file, device="cpu")
        part.write_bytes(whole)
    assert open_model(file, device="cpu").runtime == target


def test_openvino_needs_both_of_its_files(place, tmp_path):
    file = copied(place, "openvino", tmp_path)
    file.with_suffix(".bin").unlink()
    with pytest.raises(CrossreidError, match=r"model\.bin not found"):
        open_model(file)


def test_a_conversion_that_fails_leaves_logging_as_it_was():
    openvino = pytest.importorskip("openvino")
    root = logging.getLogger()
    before = root.level, root.filters[:], root.handlers[:]
    image = torch.randn(2, 3)
    traced = torch.jit.trace(torch.nn.Linear(3, 3).eval(), image)
    with pytest.raises(RuntimeError), _logging_as_it_was():
        openvino.convert_model(traced, example_input=image, input=[("of no such name", [1, 2, 3, 4])])
    assert (root.level, root.filters, root.handlers) == before


def test_what_a_file_says_is_read_by_its_own_tools(place):
    """By OpenVINO from `rt_info`, from the archive's extra files by anything that reads archives."""
    openvino = pytest.importorskip("openvino")
    network = openvino.Core().read_model(place / "run" / "model.xml")
    said = json.loads(network.get_rt_info(["crossreid"]).astype(str))
    with zipfile.ZipFile(place / "run" / "model.pt2") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("extra/crossreid")]
        other = json.loads(archive.read(name))
    for key in ("fingerprint", "method", "dimension", "flip", "preprocessing", "precision", "batch"):
        assert said[key] == other[key], key
    assert (said["format"], other["format"]) == ("crossreid-openvino-1", "crossreid-torch-export-1")


def test_a_job_by_another_engine_gives_the_same_rows_and_keeps_to_it(place, tmp_path):
    for name, given in {"torch": [], "other": ["--engine", "openvino"]}.items():
        ran("embed", place / "run", place / "world", "--out", tmp_path / name, "--precision", "float32", *given)
    ours, theirs = (read_embeddings(tmp_path / name) for name in ("torch", "other"))
    np.testing.assert_allclose(ours.embeddings, theirs.embeddings, atol=1e-4)
    assert ours.fingerprint == theirs.fingerprint, "both may query one gallery"
    with pytest.raises(CrossreidError, match="runtime was openvino, is torch"):
        crossreid.embed(place / "run", place / "world", tmp_path / "other", precision="float32", device="cpu")


def test_the_file_must_be_of_the_engine_and_of_the_run(place, tmp_path):
    run = place / "run"
    assert open_by_engine(run, None).runtime == open_by_engine(run, "torch").runtime == "torch"
    assert open_by_engine(run / "model.xml", None).runtime == "openvino"
    with pytest.raises(CrossreidError, match=r"is a file for --engine openvino; for onnx name a file of it"):
        open_by_engine(run / "model.xml", "onnx")
    write_run(tmp_path / "run", recipe_of("baseline", network=TINY_NETWORK))
    for engine, suffix in SUFFIX.items():
        with pytest.raises(CrossreidError, match=rf"model\{suffix} not found. Make it first: .* --to {engine}$"):
            open_by_engine(tmp_path / "run", engine)
    copied(place, "openvino", tmp_path / "run")
    with pytest.raises(CrossreidError, match="is not from the run's current best checkpoint"):
        open_by_engine(tmp_path / "run", "openvino")


def test_refusals_before_any_work(place, tmp_path):
    run = place / "run"
    refused = {
        "expected onnx, openvino, torch-export": {"target": "tensorrt"},
        "does not end in .xml": {"target": "openvino", "out": tmp_path / "model.onnx"},
        "expected float32, fp16, int8": {"precision": "int4"},
        "expected dynamic, or at least 1 image": {"batch": 0},
    }
    for told, given in refused.items():
        with pytest.raises(CrossreidError, match=told):
            export(run, **given)
    with pytest.raises(CrossreidError, match=r"supports float32.*, not fp16"):
        open_model(run / "model.xml").with_precision("fp16")
    assert not list(tmp_path.iterdir())


def test_openvino_computes_with_the_threads_of_torch(place):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        model = open_model(place / "run" / "model.xml")
        assert model._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 1
    finally:
        torch.set_num_threads(before)
