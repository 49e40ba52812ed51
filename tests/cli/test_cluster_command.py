"""`crossreid cluster`, as a person types it: on what `crossreid embed` wrote of a rendered world, and on a gallery."""

import csv
import json
from functools import partial

import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

import crossreid
import typed_commands
from calibrated import known_calibration
from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.calibration_files import to_json
from crossreid.files import write_json
from crossreid.galleries import open_gallery
from crossreid.inference.open_model import open_model
from small_model import recipe_of, write_run

ran = partial(typed_commands.ran, "cluster")


@pytest.fixture
def told(capsys):
    """What the command says where it must fail cleanly."""
    return partial(typed_commands.refused, capsys, "cluster")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A world of six people, its embeddings by an untrained network, and a gallery of them."""
    place = tmp_path_factory.mktemp("place")
    synthesise(place / "world", "manifest", 6, 0, images_per_camera=2, size=(48, 32), workers=1)
    write_run(place / "run", recipe_of("baseline"))
    typed_commands.ran("embed", place / "run", place / "world", "--out", place / "embedded", "--workers", 0)
    typed_commands.ran("gallery", "add", place / "gallery", place / "embedded")
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


@pytest.fixture
def calibrated(place, tmp_path):
    """The calibration of the run that embedded, in the run for the time of a test; and the file of another model's."""
    made = known_calibration(open_model(place / "run").fingerprint)
    write_json(place / "run" / "calibration.json", to_json(made))
    write_json(tmp_path / "other.json", to_json(known_calibration("0" * 64)))
    yield made
    (place / "run" / "calibration.json").unlink()


def test_the_threshold_of_the_runs_calibration(place, tmp_path, calibrated):
    """The run that the embeddings name is asked; a gallery keeps its own, or asks the run."""
    ran(place / "embedded", "--out", tmp_path / "p", "--probability", "0.9")
    ran("--gallery", place / "gallery", "--out", tmp_path / "g", "--probability", "0.9")
    ran(place / "embedded", "--out", tmp_path / "r", "--false-accept-rate", "0.01", "--calibration", place / "run")
    found = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("p", "g", "r")]
    within = (0.9 - 0.01) / 0.98
    for by_probability in found[:2]:
        assert by_probability["thresholds_by"] == "probability 0.9"
        assert by_probability["thresholds"] == pytest.approx(
            {"visible-visible": within, "visible-infrared": within + 0.2, "infrared-infrared": within}
        )
    assert set(found[2]["thresholds"].values()) == {0.88}


def test_a_calibration_of_another_model_is_refused(place, tmp_path, calibrated, told):
    for source in ((place / "embedded",), ("--gallery", place / "gallery")):
        said = told(*source, "--out", tmp_path / "n", "--probability", "0.9", "--calibration", tmp_path / "other.json")
        assert f"--calibration {tmp_path / 'other.json'} is of model 000000000000..., and" in said
    (place / "run" / "calibration.json").write_bytes((tmp_path / "other.json").read_bytes())
    said = told(place / "embedded", "--out", tmp_path / "n", "--probability", "0.9")
    assert "the calibration in the run is of model 000000000000..., and" in said
    said = told(place / "embedded", "--out", tmp_path / "n", "--probability", "0.9", "--calibration", tmp_path)
    assert "expected the folder of a calibrated run, or a calibration.json" in said
    assert not (tmp_path / "n").exists()


def test_without_a_calibration_the_way_to_one_is_said(place, tmp_path, told):
    said = told(place / "embedded", "--out", tmp_path / "n", "--false-accept-rate", "0.01")
    assert "Run `crossreid calibrate RUN` and name the run with --calibration" in said


def test_in_python(place, tmp_path):
    """As the command does it, without a folder too; of what is named and of what was opened."""
    by_pair = {"visible-visible": 0.995, "visible-infrared": 0.99, "infrared-infrared": 0.995}
    ran(
        place / "embedded",
        "--out",
        tmp_path / "out",
        *(f"--threshold={pair}={value}" for pair, value in by_pair.items()),
    )
    written = parquet.read_table(tmp_path / "out" / "clusters.parquet").to_pydict()
    found = crossreid.cluster(place / "embedded", threshold=by_pair)
    assert (found.summary, found.named) == (None, None)
    assert found.clustering.labels.tolist() == written["cluster"]
    calibration = known_calibration(found.crops.model)
    with open_gallery(place / "gallery", read_only=True) as gallery:
        again = crossreid.cluster(gallery, false_accept_rate=0.01, calibration=calibration, method="agglomerative")
        assert again.clustering.thresholds.source == "false-accept rate 0.01"
        with pytest.raises(crossreid.CrossreidError, match="the calibration is of model unknown, and"):
            crossreid.cluster(gallery, false_accept_rate=0.01, calibration=known_calibration())
    everywhere = crossreid.cluster(place / "embedded", threshold=0.9).clustering.thresholds
    assert set(everywhere.cosines.values()) == {0.9}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "{out}"], "either EMBEDDINGS or --gallery"),
        (["{embedded}"], "--out DIR is required"),
        (["{embedded}", "--out", "{out}"], "expected a threshold: --threshold COSINE"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--by-index"], "are for --gallery"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--linkage", "complete"], "--method agglomerative"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--min-samples", "3"], "--method hdbscan"),
        (["{embedded}", "--out", "{out}", "--threshold", "0.9", "--method", "hdbscan"], "takes no threshold"),
        (["{embedded}", "--out", "{out}", "--nearest", "5", "--method", "hdbscan"], "Leave it out"),
        (
            ["{embedded}", "--out", "{out}", "--threshold", "0.9", "--calibration", "x"],
            "--probability or --false-accept-rate",
        ),
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
