"""`crossreid calibrate` on a small run, and what carries it: exports, embeddings, galleries, searches."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

import crossreid
import people_to_calibrate
from crossreid.cli.app import app
from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.evaluation.calibration_files import to_json
from crossreid.evaluation.embedding_files import read_about
from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA
from crossreid.files import write_json
from crossreid.galleries import ModelMismatch, open_gallery
from crossreid.inference.embedding_model import prepared
from crossreid.inference.exporting.exported_file import KEY
from crossreid.inference.open_model import open_model
from crossreid.runs.calibrating import calibrate, read_calibration
from crossreid.runs.named_network import PretrainedNetwork
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_split
from few_fits import quick_drawings
from small_model import recipe_of, write_run
from typed_commands import refused
from weight_files import write_weights


@pytest.fixture(autouse=True)
def drawn_once(request, monkeypatch):
    if request.function is not test_the_command_prints_a_table_and_draws:
        quick_drawings(monkeypatch)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A world of 40 people, a run on it that keeps 8 of them for validation, and one that keeps none."""
    folder = tmp_path_factory.mktemp("calibrating")
    for name in ("world", "mine"):
        (folder / name).symlink_to(people_to_calibrate.made() / name)
    shutil.copytree(people_to_calibrate.made() / "run", folder / "run")
    given = recipe_of("baseline").model_dump(mode="json")
    given["data"] |= {"name": "manifest", "root": str(folder / "mine"), "options": {"fractions": [0.5, 0.0, 0.5]}}
    write_run(folder / "without", make_recipe(given))
    return folder


@pytest.fixture(scope="module")
def made(place):
    return calibrate(place / "run", tracklets=True)


def ran(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


def test_it_is_of_the_validation_pairs_as_galleries_compare_them(place, made):
    run = crossreid.open_run(place / "run")
    records = [record for record in run.split.validation if record.modality == VISIBLE]
    embeddings = open_model(place / "run").embed(*prepared(open_model(place / "run"), records)).numpy()
    scores = embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
    who, where = (np.array([getattr(record, name) for record in records]) for name in ("identity", "camera"))
    same = who[:, None] == who
    kept = np.triu(np.ones_like(same), 1).astype(bool) & ~(same & (where[:, None] == where))
    measured = made.calibration.measured["visible-visible"]
    assert (measured.pairs, measured.same) == (np.count_nonzero(kept), np.count_nonzero(kept & same))
    others = np.sort(scores[kept & ~same])[::-1]
    assert made.calibration.threshold(0.01, VISIBLE, VISIBLE) == pytest.approx(
        others[int(0.01 * len(others))], abs=1e-5
    )
    assert made.calibration.fingerprint == open_model(place / "run").fingerprint
    assert made.calibration.data["part"] == "validation"
    assert made.calibration.data["images"] == len(run.split.validation)
    assert made.calibration.data["exclusion"].endswith(SAME_IDENTITY_AND_CAMERA.description)


def test_tracklets_have_curves_of_their_own(made):
    assert list(made.calibration.others) == ["sets", "set-image"]
    assert made.notes[0] == "the data have no tracklets: an identity's images by one camera count as one."
    images, sets, mixed = made.calibration, *made.calibration.others.values()
    people = 2 * 8  # of two images of each of 8 people by a camera
    assert sets.measured["visible-visible"].entries == images.measured["visible-visible"].entries / 2
    assert mixed.measured["visible-visible"].entries == images.measured["visible-visible"].entries
    assert sets.measured["visible-visible"].entries == 4 * 8 == 2 * people
    assert sets.prior == images.prior


def test_it_is_kept_and_read_again(place, made):
    assert made.file == place / "run" / "calibration.json"
    back = read_calibration(place / "run")
    assert to_json(back) == to_json(made.calibration)
    assert to_json(read_calibration(made.file)) == to_json(back)
    assert read_calibration(place / "without") is None
    (made.file.parent / "broken.json").write_text("[")
    with pytest.raises(DataError, match="broken"):
        read_calibration(made.file.parent / "broken.json")


def test_the_command_prints_a_table_and_draws(place, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = ran(
        "calibrate",
        place / "run",
        "--method",
        "platt",
        "--prior",
        0.2,
        "--false-accept-rate",
        0.02,
        "--false-accept-rate",
        0.2,
        "--out",
        tmp_path,
    )
    told = json.loads((tmp_path / "calibration.json").read_text())
    assert (told["method"], told["prior"]) == ("platt", 0.2)
    assert set(told["images"]["visible-infrared"]["thresholds"]) == {"0.02", "0.2"}
    for word in ("FAR", "0.02", "ECE", "Brier", "infrared-visible", "at prior 0.2", "identities"):
        assert word in done.output, word
    threshold = told["images"]["visible-visible"]["thresholds"]["0.2"]
    assert f"{threshold:.3f}" in done.output
    with Image.open(tmp_path / "calibration.png") as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("L").getcolors(256)) > 50
    assert (tmp_path / "calibration.svg").is_file()


def test_without_validation_it_says_what_to_do(place, tmp_path, capsys):
    told = refused(capsys, "calibrate", place / "without")
    assert "has no validation identities" in told
    assert "--on NAME:ROOT" in told
    assert "--on-test" in told
    done = ran("calibrate", place / "without", "--on-test", "--out", tmp_path)
    assert "WARNING: calibrated on the run's test images" in done.output
    assert read_calibration(tmp_path).data["part"] == "test"
    other = calibrate(place / "without", on=f"sysu-mm01:{place / 'world'}", out=tmp_path).calibration
    split = open_split(crossreid.open_run(place / "run").recipe)
    assert other.data["images"] == len({*split.validation, *split.query, *split.gallery})
    rows = calibrate(place / "run", on=place / "mine", out=tmp_path).calibration
    assert (rows.data["name"], rows.data["identities"]) == ("manifest", 14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on", "nowhere.csv"], "--on nowhere.csv: not found. Expected a manifest"),
        (["--on", "sysu-mm02:x"], "sysu-mm01"),
        (["--on", "x.csv", "--on-test"], "expected one of them"),
        (["--prior", "1.5"], "prior 1.5: expected the share"),
        (["--method", "beta"], "expected isotonic or platt"),
        (["--false-accept-rate", "0"], "false-accept rate 0: expected a rate between"),
        (["--checkpoint", "newest"], "expected best or last"),
        (["--backbone", "mobilenetv2_100"], "expected either a RUN or --backbone"),
    ],
)
def test_what_is_wrong_is_said(place, capsys, arguments, message):
    assert message in refused(capsys, "calibrate", place / "run", *arguments)


def test_its_own_data_are_no_other_data(place, capsys):
    told = refused(capsys, "calibrate", place / "run", "--on", f"sysu-mm01:{place / 'world'}")
    assert "is what the run was trained on" in told


def test_a_network_that_was_not_trained_here(place, tmp_path, monkeypatch, capsys):
    weights = tmp_path / "test_resnet.safetensors"
    write_weights(weights, "test_resnet")
    monkeypatch.chdir(tmp_path)
    named = ["--backbone", "test_resnet", "--weights", str(weights), "--size", "32x32"]
    assert "Name labelled images" in refused(capsys, "calibrate", *named)
    ran("calibrate", *named, "--on", place / "mine" / "manifest.csv")
    (file,) = (tmp_path / "pretrained").glob("test_resnet/manifest-*/calibration.json")
    network = PretrainedNetwork("test_resnet", str(weights), 32, 32)
    assert read_calibration(file).fingerprint == open_model(network).fingerprint


def test_models_exports_and_embeddings_carry_it(place, made, tmp_path):
    model = open_model(place / "run")
    assert to_json(model.calibration) == to_json(made.calibration)
    written = crossreid.export_onnx(place / "run", tmp_path / "model.onnx").path
    exported = open_model(written).calibration
    assert to_json(exported) == to_json(made.calibration, measures=False)
    facts = json.loads({entry.key: entry.value for entry in onnx.load(written).metadata_props}[KEY])
    ran("embed", place / "run", place / "mine", "--out", tmp_path / "embeddings")
    about = read_about(tmp_path / "embeddings")
    assert json.loads(about["calibration"])["fingerprint"] == model.fingerprint
    # One that was not calibrated says nothing of it, bit for bit as before.
    (place / "run" / "calibration.json").rename(tmp_path / "aside.json")
    try:
        plain = crossreid.export_onnx(place / "run", tmp_path / "plain.onnx").path
        assert open_model(place / "run").calibration is open_model(plain).calibration is None
        said = json.loads({entry.key: entry.value for entry in onnx.load(plain).metadata_props}[KEY])
        assert facts.keys() - said.keys() == {"calibration"}
        assert said["fingerprint"] == facts["fingerprint"]
    finally:
        (tmp_path / "aside.json").rename(place / "run" / "calibration.json")


def test_of_other_weights_it_is_left_aside_in_words(place, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for file in (place / "run").iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    write_json(run / "calibration.json", to_json(replace(read_calibration(run), fingerprint="0" * 64)))
    with pytest.warns(UserWarning, match="belongs to other weights than those opened"):
        assert open_model(run).calibration is None


def test_a_gallery_takes_it_and_its_searches_show_it(place, made, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    where, embeddings = tmp_path / "gallery", tmp_path / "embeddings"
    ran("embed", place / "run", place / "mine", "--out", embeddings)
    ran("gallery", "add", where, embeddings)
    model = open_model(place / "run")
    with open_gallery(where, read_only=True) as gallery:
        kept = gallery.calibration()
        assert kept.prior == pytest.approx(made.calibration.prior)
        (asks,) = gallery.sample(1)
    picture = asks.source
    kind = asks.modality.name.lower()
    found = tmp_path / "found.json"
    done = ran(
        "gallery",
        "search",
        where,
        picture,
        "--query-modality",
        kind,
        "--k",
        20,
        "--unknown-below",
        0.99,
        "--json",
        found,
    )
    (told,) = json.loads(found.read_text())
    assert told["known"] is False, "its own entry makes nobody known"
    assert told["matches"][0]["is_query"]
    for match in told["matches"]:
        pair = asks.modality, INFRARED if match["modality"] == "infrared" else VISIBLE
        assert match["probability"] == pytest.approx(float(kept.probability(match["score"], *pair)))
        assert match["probability"] == pytest.approx(
            float(model.calibration.probability(match["score"], *pair)), abs=0.15
        )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][-2:] == ["probability", "known"]
    assert {line[-1] for line in lines[1:]} == {"unknown"}
    assert lines[1][-2] == f"{told['matches'][0]['probability']:.4f}"
    ran("gallery", "search", where, "--id", asks.id, "--false-accept-rate", 0.1, "--json", found)
    (told,) = json.loads(found.read_text())
    reached = [
        match["score"]
        >= kept.threshold(0.1, asks.modality, VISIBLE if match["modality"] == "visible" else INFRARED, nearest=True)
        for match in told["matches"]
    ]
    assert told["known"] == any(reached)
    ran("gallery", "search", where, "--id", asks.id, "--prior", 0.5, "--json", found)
    (at_half,) = json.loads(found.read_text())
    for match in at_half["matches"]:
        pair = asks.modality, INFRARED if match["modality"] == "infrared" else VISIBLE
        assert match["probability"] == pytest.approx(float(kept.at_prior(0.5).probability(match["score"], *pair)))
    assert (
        f"calibration: isotonic, at prior {kept.prior:.4g}, for visible-visible"
        in ran("gallery", "stats", where).stdout
    )
    asked = ["gallery", "search", where, "--id", asks.id]
    assert "prior 0: expected the share of pairs" in refused(capsys, *asked, "--prior", 0)
    with open_gallery(where) as gallery:
        gallery.note_calibration(replace(kept, entries=dict.fromkeys(kept.curves, 5000)))
    done = ran(*asked, "--false-accept-rate", 0.1)
    assert "WARNING: the threshold of false-accept rate 0.1 was measured with 10,000 entries" in done.stderr
    with open_gallery(where) as gallery:
        gallery.note_calibration(kept)
    assert kept.entries == {name: each.entries for name, each in made.calibration.measured.items()}
    assert "has thresholds for 0.001, 0.01, 0.05, 0.1" in refused(capsys, *asked, "--false-accept-rate", 0.3)
    assert "expected only one of them" in refused(capsys, *asked, "--false-accept-rate", 0.1, "--unknown-below", 0.5)
    assert "--unknown-below 2: expected" in refused(capsys, *asked, "--unknown-below", 2)
    write_json(tmp_path / "other.json", to_json(replace(made.calibration, fingerprint="0" * 64)))
    assert "is of model 000000000000..." in refused(capsys, *asked, "--calibration", tmp_path / "other.json")
    assert "expected the folder of a calibrated run" in refused(capsys, *asked, "--calibration", place / "without")


def test_a_gallery_of_before_learns_it_later(place, made, tmp_path, capsys):
    where, model = tmp_path / "gallery", open_model(place / "run")
    with open_gallery(where, model=model.fingerprint, dimension=model.dimension) as gallery:
        gallery.add(
            [crossreid.Entry(np.eye(model.dimension)[0], "a"), crossreid.Entry(np.eye(model.dimension)[1], "b")]
        )
    asked = ["gallery", "search", where, "--id", "a"]
    assert ran(*asked).stdout.splitlines()[0].endswith("\tnote"), "no column more"
    assert "has no calibration" in refused(capsys, *asked, "--unknown-below", 0.5)
    assert "has no calibration" in refused(capsys, *asked, "--prior", 0.5)
    assert "calibration: none\n" in ran("gallery", "stats", where).stdout
    assert ran(*asked, "--calibration", place / "run").stdout.splitlines()[0].endswith("\tprobability\tknown")
    ran("calibrate", place / "run", "--out", tmp_path, "--gallery", where)
    with open_gallery(where, read_only=True) as gallery:
        assert gallery.calibration().prior == pytest.approx(made.calibration.prior)
    with open_gallery(tmp_path / "other", model="f" * 64, dimension=3) as gallery:
        with pytest.raises(ModelMismatch, match="Calibrate the gallery's model"):
            gallery.note_calibration(made.calibration)
        assert gallery.calibration() is None
