"""The exported file gives what torch gives, for every method, and says itself how its images are prepared."""

import hashlib
import json
import os

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from crossreid.cli.app import main
from crossreid.data.images import load_image
from crossreid.data.records import INFRARED, VISIBLE
from crossreid.data.synthetic import synthesise
from crossreid.inference.embedding_model import prepared
from crossreid.inference.engines.onnx_session import providers_for
from crossreid.inference.exporting import export as exporting
from crossreid.inference.exporting.agreement import largest_difference
from crossreid.inference.exporting.export import export_onnx
from crossreid.inference.exporting.onnx_file import graph_digest
from crossreid.inference.exporting.platforms.tensorrt import refuse_operators
from crossreid.inference.open_by_engine import open_by_engine
from crossreid.inference.open_model import open_model
from crossreid.inference.sources import source_records
from crossreid.runs.recipe import make_recipe
from crossreid.runs.stored_run import run_fingerprint
from crossreid.training.checkpoint import load_checkpoint, save_checkpoint
from small_model import EVERY_METHOD, NETWORK, recipe_of, write_run
from small_transformers import small_transformers  # noqa: F401
from tiny_backbone import TINY_NETWORK
from tiny_backbone import tiny_backbone_of_module as tiny_backbone_of_module
from typed_commands import ran

pytestmark = pytest.mark.usefixtures("tiny_backbone_of_module")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    world = tmp_path_factory.mktemp("export") / "world"
    synthesise(world, "manifest", 4, 5, images_per_camera=1, size=(96, 48), workers=1)
    return source_records(str(world))


def both(folder):
    """torch's own network, batch norms and all, and the exported one."""
    written = export_onnx(folder)
    assert written.difference <= 1e-4
    return open_model(folder, device="cpu", fuse=False), open_model(written.path, device="cpu")


# The three-branch methods embed alike: one with all of the branches, one with two, one with one.
FEWER = {
    "information_bottleneck": {"branches": "shared"},
    "variational_information_bottleneck": {"branches": "specific"},
}
VARIANTS = [
    *((name, FEWER.get(name, {})) for name in EVERY_METHOD),
    ("variational_distillation", {"setting": "official"}),
    ("implicit_knowledge", {"test_features": "both"}),
]
# A ResNet, for its non-local blocks, and a transformer.
NETWORKS = {"agw": NETWORK, "transreid": {"name": "small_vit", "weights": "none", "last_stride_one": False}}


@pytest.mark.usefixtures("small_transformers")
@pytest.mark.parametrize(
    ("method", "given"), VARIANTS, ids=[f"{name}-{'-'.join(map(str, g.values()))}" for name, g in VARIANTS]
)
def test_every_method_for_every_mixture_of_modalities(method, given, records, tmp_path):
    network = NETWORKS.get(method, TINY_NETWORK)
    write_run(tmp_path / "run", recipe_of(method, flip=method == "baseline", network=network, **given))
    ours, theirs = both(tmp_path / "run")
    images, modalities = prepared(ours, records)
    visible, infrared = (modalities == int(kind) for kind in (VISIBLE, INFRARED))
    assert visible.any()
    assert infrared.any()
    order = torch.argsort(modalities, stable=True)
    mixtures = {
        "visible": visible, "infrared": infrared, "one": slice(0, 1), "alone among others": order[-5:],
        "in turn": torch.stack([order[:3], order.flip(0)[:3]], 1).flatten(), "all": slice(None),
    }  # fmt: skip
    for name, rows in mixtures.items():
        for call in ("embed", "features"):
            expected, found = (getattr(model, call)(images[rows], modalities[rows]) for model in (ours, theirs))
            assert found.shape == expected.shape, (name, call)
            apart = (found - expected).abs() / expected.norm(dim=1, keepdim=True)
            assert float(apart.max()) < 1e-4, (name, call)
    if (
        method not in ("baseline", "strong_baseline", "transreid")
        and given.get("branches") != "shared"
        and given.get("setting") != "official"
        and "view" not in method
        and method != "implicit_knowledge"  # both of its streams see both modalities
    ):
        other = theirs.embed(images, 1 - modalities)
        assert float((other - theirs.embed(images, modalities)).abs().max()) > 1e-2, "the modality does matter"
    for attribute in ("fingerprint", "dimension", "flip", "method", "preprocessing"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert (theirs.runtime, theirs.precision) == ("onnx", "float32")
    refuse_operators(theirs.source)
    operators = {node.op_type for node in onnx.load(theirs.source).graph.node}
    assert "NonZero" not in operators, "whose shapes are of the data, which TensorRT cannot build"


# Positions that are resampled, learned norms without a mean, rotary positions, windows; whole, with stems and streams.
TRANSFORMERS = [
    ("baseline", "small_vit4", (64, 32), {}),
    ("baseline", "small_swin", (64, 32), {}),
    ("baseline", "test_convnext", (64, 32), {}),
    ("agw", "small_vit", (48, 32), {"stages": {"stems": 2}}),
    ("implicit_knowledge", "small_eva", (48, 32), {"stages": {"split": 2}, "test_features": "both"}),
    ("baseline", "small_pvt", (64, 32), {}),
]


@pytest.mark.usefixtures("small_transformers")
@pytest.mark.parametrize(("method", "name", "size", "given"), TRANSFORMERS,
                         ids=[f"{m}-{n}-{'-'.join(map(str, g.values()))}" for m, n, _, g in TRANSFORMERS])  # fmt: skip
def test_transformers_at_the_size_they_were_trained_at(method, name, size, given, records, tmp_path, capfd):
    network = {"name": name, "weights": "none", **({"last_stride_one": False} if name.startswith("small") else {})}
    if method == "agw":
        network["non_local"] = (0, 0, 0, 0)
    options = {"name": method, "backbone": network, **given}
    data = {"name": "sysu-mm01", "root": "/nowhere/at/all", "height": size[0], "width": size[1], "workers": 0}
    write_run(tmp_path / "run", make_recipe({"data": data, "method": options, "evaluation": {"flip": False}}))
    ours, theirs = both(tmp_path / "run")
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    images, modalities = prepared(ours, records[:6])
    assert images.shape[2:] == size
    assert largest_difference(ours, theirs, images, modalities) < 1e-4
    assert not list((tmp_path / "run").glob("*.log"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_backbone_of_module):
    """A run that the command exported into its folder, for all that follows."""
    folder = tmp_path_factory.mktemp("run") / "run"
    write_run(folder, recipe_of("variational_distillation", test_features="both", network=TINY_NETWORK))
    assert "differs from torch by at most" in ran("export", folder, "--to", "onnx")
    return folder


def test_the_file_alone_tells_another_program_all_that_it_needs(run, records):
    """Preprocessing written out from the metadata, without this package, gives the same embedding."""
    from PIL import Image

    session = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["crossreid"])
    seen = facts["preprocessing"]
    assert (seen["colours"], seen["interpolation"]) == ("RGB", "bilinear")
    with Image.open(records[0].path) as image:
        small = image.convert("RGB").resize((seen["width"], seen["height"]), Image.Resampling.BILINEAR)
    values = (np.asarray(small) / 255 - np.array(seen["mean"])) / np.array(seen["std"])
    given = {
        "images": values.transpose(2, 0, 1)[None].astype(np.float32), "modalities": np.array([int(records[0].modality)]),
    }  # fmt: skip
    (embeddings,) = session.run(["embeddings"], given)
    model = open_model(run / "model.onnx", device="cpu")
    ours = model.embed(model.transform(load_image(records[0]))[None], torch.tensor([int(records[0].modality)]))
    np.testing.assert_allclose(embeddings, ours.numpy(), atol=1e-4)
    assert embeddings.shape == (1, facts["dimension"])
    assert [(i.name, i.type) for i in session.get_inputs()] == [
        ("images", "tensor(float)"),
        ("modalities", "tensor(int64)"),
    ]


def changed(text, **values):
    return json.dumps({**json.loads(text), **values})


@pytest.mark.parametrize("part", ["weights", "shape of the file"])
def test_a_flipped_bit_is_found(part, run, tmp_path):
    """In the weights, of which ONNX Runtime sees none, or anywhere."""
    content = bytearray((run / "model.onnx").read_bytes())
    assert graph_digest(bytes(content)) == json.loads(onnx.load(run / "model.onnx").metadata_props[0].value)["graph"]
    weight = np.asarray(
        onnx.numpy_helper.to_array(max(onnx.load(run / "model.onnx").graph.initializer, key=lambda t: len(t.raw_data)))
    )
    places = [bytes(content).index(weight.tobytes()) + weight.nbytes // 2]
    if part != "weights":
        places = np.random.default_rng(0).integers(0, len(content) - 600, 12).tolist()  # the metadata are at the end
    for place in places:
        damaged = content.copy()
        damaged[place] ^= 4
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        if part == "weights":
            onnxruntime.InferenceSession(tmp_path / "damaged.onnx", providers=["CPUExecutionProvider"])
        with pytest.raises(
            ValueError, match=r"damaged.onnx (is damaged or was changed|cannot be opened|does not state|: its)"
        ):
            open_model(tmp_path / "damaged.onnx", device="cpu")


def test_another_graph_under_our_metadata_is_refused(run, tmp_path):
    """One that takes and gives other things, with a digest that is its own."""
    text = onnx.load(run / "model.onnx").metadata_props[0].value
    helper = onnx.helper
    names = {"x": [1, 3, 48, 32], "y": [1, 3, 48, 32]}
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in names.items())
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [x], [y])
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    content = other.SerializeToString()
    metadata = onnx.ModelProto()
    metadata.metadata_props.add(key="crossreid", value=changed(text, graph=hashlib.sha256(content).hexdigest()))
    (tmp_path / "other.onnx").write_bytes(content + metadata.SerializeToString())
    with pytest.raises(
        ValueError, match=r"expected a graph with the inputs images, modalities .*found x float32 and y"
    ):
        open_model(tmp_path / "other.onnx", device="cpu")


def test_a_gpu_of_several_is_computed_on_itself():
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    for device, number in (("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)):
        chosen = providers_for(torch.device(device), both)
        assert chosen == [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
    assert providers_for(torch.device("cpu"), both) == providers_for(torch.device("cuda:1"), both[1:]) == both[1:]


def test_the_service_serves_a_file_of_the_weights_that_the_run_has(run, tmp_path):
    """Trained on, exported from the other checkpoint, or copied from elsewhere: refused by name."""
    write_run(tmp_path / "run", recipe_of("baseline", network=TINY_NETWORK))
    own = tmp_path / "run"
    with pytest.raises(ValueError, match=r"model.onnx not found. Make it first: crossreid export .* --to onnx$"):
        open_by_engine(own, "onnx")
    (own / "model.onnx").write_bytes((run / "model.onnx").read_bytes())
    theirs = open_model(run / "model.onnx", device="cpu").fingerprint
    with pytest.raises(
        ValueError, match=rf"{theirs[:12]}.*{run_fingerprint(own)[:12]}.*Export it again: crossreid export"
    ):
        open_by_engine(own, "onnx", device="cpu")
    export_onnx(own)
    assert open_by_engine(own, "onnx", device="cpu").fingerprint == open_model(own, device="cpu").fingerprint
    torch.manual_seed(7)
    stored = load_checkpoint(own / "last.safetensors")
    name = max(stored.tensors["model"], key=lambda name: stored.tensors["model"][name].numel())
    stored.tensors["model"][name] += 1e-3
    save_checkpoint(own / "best.safetensors", stored)
    with pytest.raises(ValueError, match=r"is not from the run's current best checkpoint"):
        open_by_engine(own, "onnx", device="cpu")
    assert open_by_engine(own, "onnx", checkpoint="last", device="cpu").runtime == "onnx"
    save_checkpoint(own / "last.safetensors", stored)
    with pytest.raises(ValueError, match=r"run's current last checkpoint.*--to onnx --checkpoint last"):
        open_by_engine(own, "onnx", checkpoint="last", device="cpu")
    assert open_by_engine(own / "model.onnx", None, device="cpu").runtime == "onnx", (
        "named itself, it is what was asked for"
    )


def test_where_it_cannot_be_written_is_refused_before_the_work(run, tmp_path, monkeypatch):
    (tmp_path / "folder.onnx").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(exporting, "open_model", None)
        for name, told in {
            "model.bin": "does not end in .onnx",
            "model": "does not end in .onnx",
            "folder.onnx": "is a folder",
        }.items():
            with pytest.raises(ValueError, match=told):
                export_onnx(run, tmp_path / name)
        with pytest.raises(ValueError, match="already is an exported file"):
            export_onnx(run / "Model.ONNX")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_what_killed_exports_left_is_removed_and_nothing_else(tmp_path):
    write_run(tmp_path / "run", recipe_of("baseline", network=TINY_NETWORK))
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    names = [
        f".M.ONNX.{child}.tmp.ONNX",
        f".M.ONNX.{os.getppid()}.tmp.ONNX",
        f".other.onnx.{child}.tmp.onnx",
        ".M.ONNX.mine.tmp.ONNX",
    ]
    for name in names:
        (tmp_path / name).write_text("left")
    (tmp_path / "M.ONNX.log").write_text("of an export before")
    written = export_onnx(tmp_path / "run", tmp_path / "M.ONNX").path
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*names[1:], "M.ONNX", "M.ONNX.card.json", "M.ONNX.card.md", "run"]
    )
    assert open_model(written, device="cpu").runtime == "onnx"


def test_a_file_that_does_not_say_how_images_are_prepared_is_refused(run, tmp_path):
    stored = onnx.load(run / "model.onnx")
    text = stored.metadata_props[0].value
    changes = {
        "does not state how to prepare its images": [],
        "is damaged": [("crossreid", text[:-3])],
        "another version .'crossreid-onnx-0'": [("crossreid", text.replace("onnx-1", "onnx-0"))],
        "missing: fingerprint": [("crossreid", text.replace("fingerprint", "thumbprint"))],
        "missing: graph": [("crossreid", text.replace('"graph"', '"digest"'))],
        "fingerprint is ''": [("crossreid", changed(text, fingerprint=""))],
        "fingerprint is 'c0de'": [("crossreid", changed(text, fingerprint="c0de"))],
        "dimension is 'None'": [("crossreid", changed(text, dimension=None))],
        "dimension is '7.5'": [("crossreid", changed(text, dimension=7.5))],
        "flip is 'no'": [("crossreid", changed(text, flip="no"))],
        "preprocessing is": [("crossreid", changed(text, preprocessing=[1]))],
        "its preprocessing is incomplete .*infinity": [
            ("crossreid", text.replace('"height": 48', '"height": Infinity'))
        ],
        r"images .B, 3, 1000000000, 32., its graph .B, 3, 48, 32.": [
            ("crossreid", text.replace('"height": 48', '"height": 1000000000'))
        ],
        r"embeddings .B, 545., its graph .B, 544.": [("crossreid", changed(text, dimension=545))],
        "is damaged. Export": [("crossreid", 100_000 * "[")],
        "expected RGB images": [("crossreid", text.replace("RGB", "BGR"))],
        "its metadata are not what was exported": [("crossreid", text.replace("0.485", "0.585"))],
    }
    for told, metadata in changes.items():
        del stored.metadata_props[:]
        for key, value in metadata:
            stored.metadata_props.add(key=key, value=value)
        onnx.save(stored, tmp_path / "other.onnx")
        with pytest.raises(ValueError, match=told):
            open_model(tmp_path / "other.onnx", device="cpu")
    with pytest.raises(ValueError, match=r"nothing.onnx not found"):
        open_model(tmp_path / "nothing.onnx", device="cpu")
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(ValueError, match="cannot be opened by ONNX Runtime"):
        open_model(tmp_path / "noise.onnx", device="cpu")
    with pytest.raises(ValueError, match="supports float32, not bf16"):
        open_model(run / "model.onnx", device="cpu", precision="bf16")


def test_a_difference_above_the_tolerance_writes_nothing(run, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    out.write_bytes(b"what was there")
    with pytest.raises(SystemExit):
        main(["export", str(run), "--out", str(out), "--tolerance", "0"])
    assert "differs from torch's by" in " ".join(capsys.readouterr().err.split())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.onnx": b"what was there"}
    with pytest.raises(ValueError, match=r"model.onnx already is an exported file"):
        export_onnx(run / "model.onnx")


class WithoutWords(nn.Module):
    """A layer that ONNX has no operator for."""

    def forward(self, rows):
        return torch.special.bessel_j0(rows)


class NotWhatItWas(nn.Module):
    """A layer that computes another thing when it is traced."""

    def forward(self, rows):
        return rows + (1.0 if torch.jit.is_tracing() else 0.0) * torch.arange(rows.shape[1])


class Talkative(nn.Module):
    """A layer that prints while it is traced."""

    def forward(self, rows):
        if torch.jit.is_tracing():
            print("words of a layer")
        return rows


def test_what_is_printed_where_an_export_succeeds_is_in_the_log_that_the_command_names(tmp_path, monkeypatch):
    write_run(tmp_path / "run", recipe_of("baseline", network=TINY_NETWORK))
    model = open_model(tmp_path / "run", device="cpu", fuse=False)
    model.network.encoder.neck = nn.Sequential(model.network.encoder.neck, Talkative())
    monkeypatch.setattr(exporting, "open_model", lambda *_, **__: model)
    said = ran("export", tmp_path / "run")
    log = tmp_path / "run" / "model.onnx.log"
    assert said.endswith(f"output of the exporter: {log}")
    assert "words of a layer" not in said
    assert "words of a layer" in log.read_text()


@pytest.mark.parametrize(
    ("layer", "told", "left"),
    [
        (
            WithoutWords(),
            r"cannot be written as ONNX .*bessel_j0.*exporter's output: .*model\.onnx\.log$",
            ["model.onnx.log"],
        ),
        (NotWhatItWas(), "differs from torch's by [0-9.]+e[-+]", []),
    ],
)
def test_layers_that_cannot_be_exported_are_refused(layer, told, left, tmp_path, monkeypatch, capfd):
    write_run(tmp_path / "run", recipe_of("baseline", network=TINY_NETWORK))
    model = open_model(tmp_path / "run", device="cpu")
    model.network.encoder.neck = nn.Sequential(model.network.encoder.neck, layer)
    monkeypatch.setattr(exporting, "open_model", lambda *_, **__: model)
    with pytest.raises(ValueError, match=told):
        export_onnx(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["last.safetensors", *left, "recipe.yaml"]
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    for name in left:
        assert len((tmp_path / "run" / name).read_text().splitlines()) > 10, "the graph, which the exporter prints"
