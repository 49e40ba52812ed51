"""The command and the function behind it: what they write, report and refuse."""

import os
import shutil

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app, main
from crossreid.data.records import Modality
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.inference.bulk.job import Embedded
from crossreid.inference.embed import embed
from crossreid.inference.embedding_files import read_embeddings
from crossreid.runs.recipe import make_recipe
from embedding_jobs import COUNT, contents
from forked import command, ran_together
from small_model import recipe_of, write_run
from typed_commands import ran


def test_the_command_embeds_a_folder_and_says_what_it_did(tmp_path, place, model, capsys):
    out = tmp_path / "out"
    command = (
        "embed",
        place / "run",
        place / "images",
        "--out",
        out,
        "--modality",
        "infrared",
        "--camera",
        3,
        "--device",
        "cpu",
    )
    told = ran(*command)
    assert "embedded 45 images" in told
    assert "precision: " in told
    found = read_embeddings(out)
    assert set(found.modalities.tolist()) == {int(Modality.INFRARED)}
    assert set(found.cameras.tolist()) == {3}
    assert found.identities.tolist() == [None] * COUNT
    assert "embedded 45 images, all of them earlier" in ran(*command)
    for arguments, message in (
        (("embed", place / "run", place / "images"), "with SOURCE, --out DIR is required"),
        (("embed", place / "run", place / "images", "--out", out, "--format", "npz"), "--format is for a run's own"),
        (
            ("embed", place / "run", place / "images", "--out", out, "--precision", "fp8"),
            "--precision 'fp8': expected auto or",
        ),
        ((*command[:-2], "--device", "cpu", "--precision", "float32", "--batch", 8), "batch was 64, is 8"),
        (("embed", place / "nothing", place / "images", "--out", out), "holds no run"),
    ):
        with pytest.raises(SystemExit):
            main([str(argument) for argument in arguments])
        assert message in " ".join(capsys.readouterr().err.split())


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("crossreid: "), "no progress is drawn before it"
    return " ".join(said.split())


def test_options_that_have_no_meaning_are_refused(place, tmp_path, capsys):
    run = place / "run"
    for option in (
        ("--modality", "infrared"), ("--camera", 3), ("--part", "all"), ("--option", "trial=2"), ("--precision", "float32"),
        ("--on-bad-image", "skip"), ("--batch", 64), ("--chunk", 1024), ("--workers", 0), ("--device", "cpu"),
    ):  # fmt: skip
        assert f"{option[0]} has no meaning for a run's own test features" in refused(capsys, "embed", run, *option)
    assert "--batch, --workers have no meaning" in refused(capsys, "embed", run, "--workers", 1, "--batch", 3)
    file, source = tmp_path / "model.onnx", place / "images"
    assert "is an exported file, which has no test features of its own" in refused(capsys, "embed", file)
    assert "--checkpoint is for a run" in refused(
        capsys, "embed", file, source, "--out", tmp_path, "--checkpoint", "best"
    )
    out = ("--out", tmp_path / "out")
    assert "SOURCE is empty" in refused(capsys, "embed", run, "", *out)
    assert "9223372036854775808" in refused(capsys, "embed", run, source, *out, "--camera", 2**63)
    assert "device 'gpu9': expected cpu" in refused(capsys, "embed", run, source, *out, "--device", "gpu9")
    assert "device 'meta': expected cpu" in refused(capsys, "embed", run, source, *out, "--device", "meta")
    assert not (tmp_path / "out").exists()


def test_the_command_leaves_out_names_that_are_no_text_and_counts_rows(place, tmp_path, capsys):
    """699 of 700 embedded are not 700 that were done before."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        shutil.copy(place / "images" / "001.png", images / f"{number}.png")
    (images / "empty.png").touch()
    shutil.copy(images / "0.png", os.fsencode(images) + b"/caf\xe9.png")
    command = (
        "embed",
        place / "run",
        images,
        "--out",
        tmp_path / "out",
        "--precision",
        "float32",
        "--device",
        "cpu",
        "--workers",
        0,
    )
    assert r"images/caf\xe9.png: its name is not UTF-8" in refused(capsys, *command)
    assert not (tmp_path / "out").exists()
    for before in ("", ", all of them earlier"):
        result = CliRunner().invoke(app, [*map(str, command), "--on-bad-image", "skip"])
        assert result.exit_code == 0, result.output
        told = " ".join(result.output.split())
        assert f"embedded 3 images{before}: " in told
        assert "left out as unreadable: 2, listed in" in told
    listed = (tmp_path / "out" / "bad_images.csv").read_text()
    assert r"images/caf\xe9.png,its name is not UTF-8" in listed
    assert "images/empty.png," in listed


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path, place, whole, model):
    """As torchrun starts them, each with one loader process."""
    told = ran_together(
        2, command, "embed", place / "run", place / "own.csv", "--out", tmp_path / "out", "--precision", "float32",
        "--batch", "4", "--chunk", "8", "--device", "cpu", "--workers", "1", folder=tmp_path,
    )  # fmt: skip
    assert "".join(told).count("embedded 45 images") == 1
    assert contents(tmp_path / "out") == contents(whole)
    assert read_embeddings(tmp_path / "out").fingerprint == model.fingerprint, "the same in every process"


class Said(list):
    """What was said and how many images were reported, of a call that takes both."""

    def __init__(self):
        super().__init__()
        self.images = []

    def advance(self, done, total=None):
        self.images.append((done, total))

    @property
    def callables(self):
        return {"say": self.append, "advance": self.advance}


def test_the_function_embeds_as_the_command_does_and_returns_what_was_written(tmp_path, place, records, whole):
    said = Said()
    given = {"precision": "float32", "batch": 4, "chunk": 8, "device": "cpu", "workers": 0}
    done = embed(place / "run", place / "own.csv", tmp_path / "out", **given, **said.callables)
    assert done == Embedded(tmp_path / "out", COUNT, 0, 0)
    assert contents(tmp_path / "out") == contents(whole)
    assert said.images[0] == (0, COUNT)
    assert sum(done for done, _ in said.images) == COUNT
    again = embed(str(place / "run"), str(place / "own.csv"), str(tmp_path / "out"), **given)
    assert (again.rows, again.before) == (COUNT, COUNT)
    split = embed(place / "run", place / "images", out=tmp_path / "folder", camera=3, device="cpu", say=said.append)
    assert split.rows == COUNT
    assert said[0].startswith("precision: ")


def test_an_interrupted_call_says_how_to_go_on(tmp_path, place):
    def advance(done, total=None):
        raise KeyboardInterrupt

    said = []
    with pytest.raises(KeyboardInterrupt):
        embed(place / "run", place / "own.csv", tmp_path / "out", device="cpu", precision="float32", advance=advance,
              say=said.append)  # fmt: skip
    assert said == ["interrupted; run the same command to resume from the last chunk."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 4, "part": "all"}, "--part, --batch have no meaning for a run's own test features"),
        ({"options": {"trial": 2}}, "--option has no meaning for a run's own test features"),
        ({"source": "images"}, "with SOURCE, --out DIR is required"),
        ({"source": "images", "out": "out", "format": "npz"}, "--format is for a run's own test features"),
        ({"source": "images", "out": "out", "precision": "fp8"}, "--precision 'fp8': expected auto or float32 or bf16"),
        ({"source": "images", "out": "out", "precision": "fp16"}, "supports float32 or bf16, not fp16"),
        ({"source": "images", "out": "out", "on_bad_image": "fix"}, "--on-bad-image 'fix': expected stop or skip"),
        ({"source": "images", "out": "out", "chunk": 0}, "batch 64, chunk 0, workers 0: expected at least 1 image"),
        ({"source": "images", "out": "out", "workers": -1}, "workers -1: expected .* 0 or more loader processes"),
        ({"source": "images", "out": "out", "camera": -1}, "camera -1: expected a whole number from 0"),
        ({"source": "images", "out": "out", "checkpoint": "first"}, "checkpoint 'first': expected best or last"),
        ({"format": "csv"}, "--format 'csv': expected npz or sysu-mat"),
    ],
)  # fmt: skip
def test_arguments_without_a_meaning_are_refused(arguments, message, place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    with pytest.raises(CrossreidError, match=message):
        embed("run", **arguments)
    assert not (place / "out").exists()


def test_without_a_source_the_runs_own_test_images_are_embedded(tmp_path):
    synthesise(tmp_path / "world", "regdb", 4, 0, images_per_camera=1, size=(48, 32), workers=1)
    recipe = recipe_of().model_dump(mode="json")
    recipe["data"] |= {"name": "regdb", "root": str(tmp_path / "world")}
    write_run(tmp_path / "run", make_recipe(recipe), 2)
    said = Said()
    written = embed(tmp_path / "run", advance=said.advance)
    assert written == tmp_path / "run" / "features.npz"
    before = written.read_bytes()
    result = CliRunner().invoke(app, ["embed", str(tmp_path / "run"), "--out", str(tmp_path / "own.npz")])
    assert result.exit_code == 0, result.output
    assert " ".join(result.output.split()).endswith(f"features: {tmp_path}/own.npz")
    assert (tmp_path / "own.npz").read_bytes() == before
