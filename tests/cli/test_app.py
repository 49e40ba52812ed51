"""The commands as a person types them: what they write, and what they say when something is wrong."""

import json
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.runs.recipe import make_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.train import train
from few_fits import quick_drawings, quick_maps
from forked import Forked, command, text_of
from typed_commands import refused

SMALL = {
    "data": {"height": 48, "width": 32, "workers": 0, "sampler": {"identities": 2, "images": 4, "epoch": 2}},
    "training": {"epochs": 1},
}
NETWORK = {"name": "test_resnet", "weights": "none"}


def small_recipe(name, root, method="variational_distillation", **options):
    data = {**SMALL["data"], "name": name, "root": str(root), "options": options}
    return make_recipe({**SMALL, "data": data, "method": {"name": method, "backbone": NETWORK}})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    for layout in ("sysu-mm01", "regdb", "llcm", "manifest"):
        synthesise(place / layout, layout, 10, 0, images_per_camera=2, size=(64, 32), workers=1)
    train(small_recipe("sysu-mm01", place / "sysu-mm01"), place / "run")
    return place


@pytest.fixture
def told(capsys):
    """What the command says on standard error, as one line, where it must fail cleanly."""

    return partial(refused, capsys)


def ran(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def test_evaluate_writes_scores_and_either_side_can_be_replaced(place):
    """A run's features written in the MATLAB arrangement and read again score as the run does."""
    ran("evaluate", place / "run", "--json", place / "scores.json")
    ours = json.loads((place / "scores.json").read_text())
    assert [score["setting"] for score in ours] == [
        f"{mode}, {shots}-shot" for mode in ("all", "indoor") for shots in ("single", "multi")
    ]
    assert json.loads((place / "run" / "scores.json").read_text()) == ours
    ran("embed", place / "run", "--format", "sysu-mat", "--out", place / "mat")
    assert loadmat(place / "mat" / "feature_cam3.mat")["feature"].dtype == object
    for row, (mode, shots) in enumerate((m, s) for m in ("all", "indoor") for s in (1, 10)):
        ran("evaluate", "--features", place / "mat", "--protocol", "sysu-mm01", "--splits", place / "sysu-mm01" / "exp",
            "--mode", mode, "--shots", shots, "--metric", "cosine", "--json", place / "mat.json")  # fmt: skip
        theirs = json.loads((place / "mat.json").read_text())
        for key in ("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP", "valid_queries", "skipped_queries"):
            assert theirs[key] == pytest.approx(ours[row][key], abs=1e-9), key
        assert len(theirs["trials"]) == 10
        assert theirs["trials"][0]["mAP"] == pytest.approx(ours[row]["trials"][0]["mAP"], abs=1e-9)


@pytest.fixture(scope="module")
def sides(place):
    """Query and gallery of the run's features, as another tool would hand them over."""
    ran("embed", place / "run", "--out", place / "all.npz")
    with np.load(place / "all.npz") as stored:
        infrared = stored["modalities"] == 1
        for name, rows in (("q", infrared), ("g", ~infrared)):
            names = ("embeddings", "identities", "cameras", "modalities")
            np.savez(place / f"{name}.npz", **{key: stored[key][rows] for key in names})
    return place / "q.npz", place / "g.npz"


def test_rank_scores_features_of_any_tool_as_evaluate_scores_the_run(place, sides):
    queries, gallery = sides
    splits = place / "sysu-mm01" / "exp"
    ran("evaluate", place / "run", "--json", place / "scores.json")
    printed = ran(
        "rank", "--queries", queries, "--gallery", gallery, "--protocol", "sysu-mm01", "--metric", "cosine",
        "--splits", splits, "--json", place / "ranked.json",
    )  # fmt: skip
    assert "not re-ranked" in " ".join(printed.split())
    ranked, scores = (json.loads((place / name).read_text()) for name in ("ranked.json", "scores.json"))
    assert [{**one, "trials": []} for one in ranked["settings"]] == [{**one, "trials": []} for one in scores]
    assert ranked["mAP"] == scores[0]["mAP"]
    assert set(ranked["seconds"]) == {"loading", "ranking"}


def test_rank_again_with_re_ranking_and_normalisation(place, sides):
    queries, gallery = sides
    common = (
        "rank",
        "--queries",
        queries,
        "--gallery",
        gallery,
        "--protocol",
        "market-1501",
        "--json",
        place / "r.json",
    )
    ran(*common)
    plain = json.loads((place / "r.json").read_text())
    assert (plain["re-ranked"], plain["normalised"], "settings" in plain) == ("no", "no", False)
    printed = ran(*common, "--rerank", "k-reciprocal", "--option", "k1=5", "--option", "k2=2", "--normalise", "camera")
    again = json.loads((place / "r.json").read_text())
    assert again["re-ranked"] == "k-reciprocal (k1 5, k2 2, lambda 0.3)"
    assert again["normalised"] == "camera"
    assert "re-ranked: k-reciprocal (k1 5" in " ".join(printed.split())
    assert again["mAP"] != plain["mAP"]


def test_evaluate_tells_both_when_asked_for_both(place):
    options = ("--rerank", "k-reciprocal", "--option", "k1=15", "--option", "gallery=hidden")
    ran("evaluate", place / "run", *options, "--json", place / "both.json")
    told = [(one["setting"], one["re-ranked"]) for one in json.loads((place / "both.json").read_text())]
    reranked = "k-reciprocal (k1 15, k2 6, lambda 0.3, gallery hidden from the neighbour search)"
    assert told[:2] == [("all, single-shot", "no"), ("all, single-shot", reranked)]
    ran("evaluate", place / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "mars2"], "unknown protocol 'mars2'"),
        (
            ["--protocol", "regdb", "--setting", "x"],
            "unknown setting 'x'; choose one of: 'visible to thermal', 'thermal to visible'.",
        ),
        (["--protocol", "regdb", "--rerank", "x"], "unknown re-ranking 'x'"),
        (["--protocol", "regdb", "--option", "k1=2"], "name one with --rerank"),
        (["--protocol", "regdb", "--rerank", "k-reciprocal", "--option", "k1"], "expected KEY=VALUE"),
        (["--protocol", "regdb", "--normalise", "x"], "expected camera or modality"),
        (["--protocol", "regdb", "--precision", "x"], "expected float32 or float64"),
        (["--protocol", "regdb", "--metric", "x"], "unknown metric 'x'"),
        (["--protocol", "regdb", "--gallery", "none.npz"], "none.npz not found"),
    ],
)
def test_what_rank_cannot_do_is_one_line(sides, told, arguments, message):
    queries, gallery = sides
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    files = {"--queries": queries, "--gallery": gallery, **given}
    line = told("rank", *(part for pair in files.items() for part in pair))
    assert message in line
    assert "Traceback" not in line


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_asked_to_stop_says_how_to_go_on(place, tmp_path, number, status):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(small_recipe("sysu-mm01", place / "sysu-mm01").as_yaml())
    arguments = ["train", recipe, "--set", "training.epochs=500", "--out", tmp_path / "run"]
    process = Forked(command, *arguments, log=tmp_path / "log")
    while not (tmp_path / "run" / "last.safetensors").is_file():
        assert process.poll() is None, text_of(tmp_path / "log")
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait() == status
    told = text_of(tmp_path / "log")
    assert "interrupted; run the same command again to continue from the checkpoint" in told
    assert "Traceback" not in told


def test_embed_npz(place):
    ran("embed", place / "run", "--out", place / "features.npz")
    with np.load(place / "features.npz") as stored:
        np.testing.assert_allclose(np.linalg.norm(stored["embeddings"], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("name", "settings"), [("llcm", 2), ("manifest", 1)])
def test_other_data_sets(place, tmp_path, name, settings):
    train(small_recipe(name, place / name, "baseline"), tmp_path / "run")
    ran("evaluate", tmp_path / "run", "--json", tmp_path / "scores.json")
    assert len(json.loads((tmp_path / "scores.json").read_text())) == settings


def test_regdb_is_averaged_over_models_of_their_own(place, tmp_path):
    for trial in (1, 2):
        train(small_recipe("regdb", place / "regdb", "baseline", trial=trial), tmp_path / "runs" / f"trial-{trial}")
    ran("evaluate", tmp_path / "runs", "--json", tmp_path / "scores.json")
    both = json.loads((tmp_path / "scores.json").read_text())
    single = [json.loads((tmp_path / "runs" / f"trial-{t}" / "scores.json").read_text()) for t in (1, 2)]
    for together, one, two in zip(both, *single, strict=True):
        assert together["mAP"] == pytest.approx((one["mAP"] + two["mAP"]) / 2)
        assert [trial["trial"] for trial in together["trials"]] == [1, 2]


def test_the_command_itself_ends_with_two_and_no_traceback(tmp_path):
    log = tmp_path / "log"  # `python -m crossreid` itself is started by tests/test_examples.py
    assert Forked(command, "train", tmp_path / "none.yaml", log=log).wait() == 2
    assert "none.yaml not found" in text_of(log)
    assert "Traceback" not in text_of(log)


def test_check_ends_with_one_on_trouble(place, tmp_path):
    assert "no problems found" in ran("check", "sysu-mm01", place / "sysu-mm01", "--deep")
    result = CliRunner().invoke(app, ["check", "sysu-mm01", str(place / "sysu-mm01"), "--expect", "official"])
    assert result.exit_code == 1
    assert "expected 296" in result.output.replace("\n", " ")


def test_report_of_a_run(place, monkeypatch):
    quick_maps(monkeypatch)
    quick_drawings(monkeypatch)
    ran("report", place / "run")
    assert "<svg" in (place / "run" / "report.html").read_text(encoding="utf-8")


def test_what_is_wrong_is_told_in_lines(place, tmp_path, told):
    assert "recipe none.yaml not found" in told("train", "none.yaml")
    assert "holds no run" in told("evaluate", tmp_path)
    assert "Did you mean 'regdb'" in told("check", "regdbb", tmp_path)
    assert "either a RUN or --features" in told("evaluate")
    assert "--splits DIR" in told("evaluate", "--features", tmp_path)
    savemat(tmp_path / "feature_cam3.mat", {"feature": np.zeros((1, 2))})
    assert "cam" in told("evaluate", "--features", tmp_path, "--splits", place / "sysu-mm01" / "exp")
    assert "not empty" in told("synth", place)
    assert "No such option" in told("synth", "x", "--colour", "red")
    assert "expected HEIGHTxWIDTH" in told("synth", "x", "--size", "big")
    assert "expected HEIGHTxWIDTH" in told("synth", "x", "--size", "8x8")
    assert "holds no run" in told("probe", place)
    assert "not found" in told("plot", place / "nothing.npz")
    assert "expected NAME=TEXT" in told("plot", place, "--title", "VD")
    assert "not found" in told("ablate", "vd", "no.yaml")
    assert "expected numbers and ranges" in told("ablate", "z-size", SHIPPED / "vd_synthetic.yaml", "--seeds", "one")
    recipe = small_recipe("sysu-mm01", place / "sysu-mm01").as_yaml()
    (tmp_path / "recipe.yaml").write_text(recipe)
    assert "Did you mean 'training.epochs'" in told("train", tmp_path / "recipe.yaml", "--set", "training.epoch=3")
    weights = f"method.backbone.weights={tmp_path / 'none.pth'}"
    assert "weights file" in told("train", tmp_path / "recipe.yaml", "--set", weights, "--out", tmp_path / "out")


def test_bad_training_images_stop_or_are_skipped_and_counted(place, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(place / "sysu-mm01", copy)
    bad = copy / "cam1" / "0001" / "0001.jpg"
    bad.write_bytes(b"")
    all_images = ["data.sampler.images=12", "data.sampler.epoch=images"]
    recipe = small_recipe("sysu-mm01", copy, "baseline")
    with pytest.raises(ValueError, match=r"0001\.jpg is empty"):
        train(make_recipe(recipe.model_dump(mode="json"), all_images), tmp_path / "stop")
    skipping = make_recipe(recipe.model_dump(mode="json"), ["data.on_bad_image=skip", *all_images])
    with pytest.warns(UserWarning, match=r"skipped unreadable image: .*0001\.jpg"):
        train(skipping, tmp_path / "skip")
    assert "1 unreadable training images were skipped" in capsys.readouterr().out


def test_recipe_is_printed_whole(place):
    (place / "r.yaml").write_text(small_recipe("sysu-mm01", "x").as_yaml())
    whole = ("--set", "data.sampler.epoch=images")
    printed = ran("recipe", place / "r.yaml", "--set", "training.optimiser.lr=1e-4", *whole)
    assert "lr: 0.0001" in printed
    steps, pixels = printed.splitlines()[-2:]
    assert steps.startswith("# steps: unknown until the data is read")
    assert pixels.startswith("# images of 48 x 32 pixels, bilinear, mean 0.485")
    assert "| `training.optimiser.lr` |" in ran("recipe", "--keys")


def test_version_is_that_of_the_package():
    import crossreid

    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert f'version = "{crossreid.__version__}"' in text
