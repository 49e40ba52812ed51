"""`crossreid cluster`, as a person types it: on what `crossreid embed` wrote of a rendered world, and on a gallery."""

import csv
import json
import sys
import types

import numpy as np
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app, main
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.calibration import Calibration, Curve
from crossreid.galleries import open_gallery
from small_model import recipe_of, write_run


def ran(*arguments):
    result = CliRunner().invoke(app, ["cluster", *map(str, arguments)])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return " ".join(result.output.split())


@pytest.fixture
def told(capsys):
    """What the command says where it must fail cleanly."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["cluster", *map(str, arguments)])
        assert ended.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A world of six people, its embeddings by an untrained network, and a gallery of them."""
    place = tmp_path_factory.mktemp("place")
    synthesise(place / "world", "manifest", 6, 0, images_per_camera=2, size=(48, 32), workers=1)
    write_run(place / "run", recipe_of("baseline"))
    embedded = CliRunner().invoke(
        app, ["embed", str(place / "run"), str(place / "world"), "--out", str(place / "embedded"), "--workers", "0"]
    )
    assert embedded.exit_code == 0, embedded.output
    added = CliRunner().invoke(app, ["gallery", "add", str(place / "gallery"), str(place / "embedded")])
    assert added.exit_code == 0, added.output
    return place


def test_a_folder_becomes_clusters_and_a_manifest(place, tmp_path):
    said = ran(
        place / "embedded", "--out", tmp_path / "out", "--threshold", "0.995", "--threshold", "infrared-visible=0.99"
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert f"{summary['crops']} crops: {summary['clusters']} clusters" in said
    assert "against 6 known identities" in said
    assert f"wrote {tmp_path / 'out'}" in said
    assert summary["thresholds"] == {"visible-visible": 0.995, "visible-infrared": 0.99, "infrared-infrared": 0.995}
    with (tmp_path / "out" / "manifest.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == summary["manifest"]["images"] > 0
    checked = CliRunner().invoke(app, ["check", "manifest", str(tmp_path / "out")])
    assert checked.exit_code == 0, checked.output
    assert (tmp_path / "out" / "sheets" / "001.jpg").stat().st_size > 1000


@pytest.mark.parametrize("options", [("agglomerative", "--linkage", "complete", "--threshold", "0.9"), ("hdbscan",)])
def test_other_methods_say_what_they_did(place, tmp_path, options):
    ran(place / "embedded", "--out", tmp_path / "out", "--method", *options)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["options"]["method"] == options[0]
    assert (summary["thresholds"] is None) == (options[0] == "hdbscan")


def test_a_gallery_is_clustered_by_its_index_and_named(place, tmp_path):
    with open_gallery(place / "gallery") as gallery:
        gallery.snapshot(tmp_path / "unnamed")
    with open_gallery(tmp_path / "unnamed") as gallery:
        entries = next(iter(gallery.batches()))
        entries.identities = [None] * len(entries)
        gallery.upsert(entries)
    options = ("--threshold", "0.995", "--by-index", "--write-identities")
    said = ran("--gallery", tmp_path / "unnamed", "--out", tmp_path / "out", *options)
    table = parquet.read_table(tmp_path / "out" / "clusters.parquet").to_pydict()
    with open_gallery(tmp_path / "unnamed") as gallery:
        names = [entry.identity for entry in gallery.get(table["id"])]
    large = [size > 1 for size in table["size"]]
    assert [name is not None for name in names] == large
    assert len({name for name in names if name}) == len(
        {c for c, is_large in zip(table["cluster"], large, strict=True) if is_large}
    )
    assert f"{sum(large)} entries" in said
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["nearest"] == 32


def test_the_threshold_of_the_runs_calibration(place, tmp_path, monkeypatch, told):
    """The run that the embeddings name is asked, or the one that is named."""
    curve = Curve(np.array([-1.0, 1.0]), np.array([0.0, 1.0]))
    pairs = ("visible-visible", "infrared-visible", "infrared-infrared")
    calibration = Calibration(dict.fromkeys(pairs, curve), {name: {0.001: 0.95} for name in pairs})
    asked = []

    def read_calibration(run):
        asked.append(run.name)
        return None if run.name == "embedded" else calibration

    stand_in = types.ModuleType("crossreid.runs.calibrating")
    stand_in.read_calibration = read_calibration
    monkeypatch.setitem(sys.modules, "crossreid.runs.calibrating", stand_in)
    ran(place / "embedded", "--out", tmp_path / "p", "--probability", "0.9")
    ran(place / "embedded", "--out", tmp_path / "r", "--false-accepts", "0.001", "--run", place / "world")
    assert asked == ["run", "world"]
    by_probability, by_rate = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("p", "r"))
    assert list(by_probability["thresholds"].values()) == pytest.approx([0.8] * 3)
    assert by_probability["thresholds_by"] == "probability 0.9"
    assert set(by_rate["thresholds"].values()) == {0.95}
    arguments = (place / "embedded", "--out", tmp_path / "n", "--probability", "0.9", "--run", place / "embedded")
    assert "crossreid calibrate" in told(*arguments)
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "{out}"], "either EMBEDDINGS or --gallery"),
        (["{embedded}"], "--out DIR is needed"),
        (["{embedded}", "--out", "{out}"], "expected a threshold: --threshold COSINE"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--by-index"], "are of --gallery"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--linkage", "complete"], "--method agglomerative"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--min-samples", "3"], "--method hdbscan"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--method", "hdbscan"], "takes no threshold"),
        (["{embedded}", "--out", "{out}", "--nearest", "5", "--method", "hdbscan"], "Leave it out"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--run", "x"], "--probability or --false-accepts"),
        (
            ["{embedded}", "--out", "{out}", "--threshold", "0.9", "--method", "dbscan"],
            "components, agglomerative, hdbscan",
        ),
        (
            ["{embedded}", "--out", "{out}", "--threshold", "0.9", "--no-pictures", "--images", "{world}"],
            "Leave one out",
        ),
        (["{embedded}", "--out", "{embedded}", "--threshold", "0.9"], "is there already"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--images", "{out}"], "expected a folder of images"),
        (["{world}", "--out", "{out}", "--threshold", "0.9"], "crossreid embed"),
        (["--gallery", "{world}/none", "--out", "{out}", "--threshold", "0.9"], "holds no gallery"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_nothing_is_written(place, tmp_path, told, arguments, words):
    where = {"out": tmp_path / "out", "embedded": place / "embedded", "world": place / "world"}
    said = told(*(argument.format(**where) for argument in arguments))
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
