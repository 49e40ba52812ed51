"""Files that are damaged or of another kind: every command names them in a line, and none shows a library's error."""

import json
import shutil

import numpy as np
import pytest

from crossreid.cli.app import main
from crossreid.data.synthetic import synthesise
from crossreid.runs.recipe import make_recipe
from crossreid.runs.train import train

DAMAGED = {
    "nothing": b"",
    "no UTF-8": b"\xff\xfe\x00path,identity\n\xe9,1\n",
    "NULs": b"\x00" * 64,
    "a JSON list": b"[1, null]",
    "half of JSON": b'{"rows": [',
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(range(64)),
    "a line": b"path\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run that was evaluated, its data, and embeddings of it."""
    place = tmp_path_factory.mktemp("place")
    synthesise(place / "world", "manifest", 8, 0, images_per_camera=2, size=(32, 16), workers=1)
    data = {"name": "manifest", "root": str(place / "world"), "height": 32, "width": 16, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2}
    network = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    train(make_recipe({"data": data, "method": network, "training": {"epochs": 1}}), place / "run")
    ended("evaluate", place / "run", status=0)
    with np.load(place / "run" / "features.npz") as stored:
        np.savez(place / "q.npz", **dict(stored))
    return place


def ended(*arguments, status=2):
    """Run a command; anything but the expected status, a traceback above all, fails the test."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == status, arguments


def copy_of_run(place, tmp_path):
    return shutil.copytree(place / "run", tmp_path / "run")


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_single_files(content, place, tmp_path, capsys):
    for name in (
        "manifest.csv",
        "x.yaml",
        "x.npz",
        "x.npy",
        "x.safetensors",
        "x.onnx",
        "x.json",
        "probes.json",
        "marks.jsonl",
    ):
        (tmp_path / name).write_bytes(content)
    at = tmp_path.__truediv__
    for arguments in (
        ("recipe", at("x.yaml")),
        ("train", at("x.yaml"), "--out", at("out")),
        ("ablate", "vd", at("x.yaml"), "--out", at("study")),
        ("rank", "--queries", at("x.npz"), "--gallery", place / "q.npz", "--protocol", "market-1501"),
        ("rank", "--queries", place / "q.npz", "--gallery", at("x.npy"), "--protocol", "market-1501"),
        ("rank", "--queries", at("x.safetensors"), "--gallery", place / "q.npz", "--protocol", "market-1501"),
        ("embed", place / "run", at("manifest.csv"), "--out", at("embedded")),
        ("embed", at("x.onnx"), place / "world", "--out", at("embedded")),
        ("plot", at("x.npz"), "--out", at("figures")),
        ("plot", at("probes.json"), "--out", at("figures")),
        ("gallery", "create", at("gallery"), "--run", at("x.onnx")),
        ("gallery", "marks", at("marks.jsonl"), "--out", at("joined.csv")),
        ("gallery", "add", at("none"), at("x.npz"), "--model", "ab" * 32),
        ("gallery", "stats", at("x.json")),
    ):
        ended(*arguments)
        shown = capsys.readouterr().err
        assert "Traceback" not in shown, arguments
        assert shown.strip(), arguments
    ended("check", "manifest", at("manifest.csv"), status=1)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("file", ["recipe.yaml", "best.safetensors", "scores.json", "features.npz"])
def test_files_of_a_run(file, content, place, tmp_path, capsys):
    run = copy_of_run(place, tmp_path)
    if not (run / file).exists():
        pytest.skip("a run without validation has no best checkpoint")
    (run / file).write_bytes(content)
    ended("report", run, "--out", tmp_path / "report.html")
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert str(run) in " ".join(shown.split()) or "recipe" in shown


def test_a_log_that_is_damaged_is_read_around(place, tmp_path, capsys):
    run = copy_of_run(place, tmp_path)
    with open(run / "metrics.jsonl", "ab") as stream:
        for row in (b"null\n", b"\xff\xfe\n", b'{"step": 1}\n', b'{"step": "x"}\n', b"[1]\n"):
            stream.write(row)
    ended("report", run, "--out", tmp_path / "report.html", status=0)
    assert "Traceback" not in capsys.readouterr().err


def test_options_that_say_nothing(place, tmp_path, capsys):
    where = tmp_path / "gallery"
    for arguments in (
        ("synth", tmp_path / "w", "--size", "axb"),
        ("train", place / "run" / "recipe.yaml", "--trials", "x"),
        ("train", place / "run" / "recipe.yaml", "--set", "training.optimiser.lr=[1"),
        ("train", place / "run" / "recipe.yaml", "--set", "data.height=2026-13-45", "--out", tmp_path / "o"),
        ("evaluate", place / "run", "--query-images", "x"),
        ("evaluate", place / "run", "--rerank", "x"),
        ("embed", place / "run", place / "world", "--out", tmp_path / "e", "--option", "x"),
        ("gallery", "search", where, "--id", "x", "--since", "yesterday"),
        ("gallery", "create", where, "--model", "ab" * 32, "--dimension", "4", "--index", "x"),
        ("plot", place / "run", "--title", "x"),
        ("ablate", "z-size", place / "run" / "recipe.yaml", "--sizes", "a,b"),
        ("ablate", "vd", place / "run" / "recipe.yaml", "--seeds", "1-"),
        ("views", "images", place / "run", "--counts", "x"),
        ("serve", place / "run", where, "--set", "x"),
    ):
        ended(*arguments)
        assert "Traceback" not in capsys.readouterr().err, arguments


def test_a_study_whose_results_are_damaged(place, tmp_path, capsys):
    (tmp_path / "table.json").write_text(json.dumps({"study": "vd"}))
    ended("plot", tmp_path, "--out", tmp_path / "figures")
    assert "Traceback" not in capsys.readouterr().err
