"""A run that was stopped says so, and how far it is, wherever its scores and its weights go."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from compared_runs import copied
from crossreid.cli.app import app
from crossreid.evaluation.scores import conditions
from crossreid.galleries.importing import card_of
from crossreid.inference.embed import embed
from crossreid.inference.open_model import open_model
from crossreid.reporting.report import report
from crossreid.runs.compare import compare
from crossreid.runs.evaluate import evaluate
from crossreid.runs.progress import unfinished
from crossreid.runs.recipe import load_recipe
from crossreid.runs.run import open_split
from few_fits import quick_maps


@pytest.fixture
def stopped(tmp_path):
    """What is on disk after the first of 24 epochs."""
    (run,) = copied(tmp_path, "m")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 1\n", "epochs: 24\n"))
    for name in ("scores.json", "features.npz"):
        (run / name).unlink(missing_ok=True)
    return run


def test_it_is_said_in_scores_reports_and_comparisons(stopped, tmp_path, monkeypatch):
    quick_maps(monkeypatch)
    steps = json.loads((stopped / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    said = f"not finished: {steps} of {24 * steps} steps, 1 of 24 epochs"
    assert unfinished(stopped, open_split(load_recipe(stopped / "recipe.yaml"))) == said
    assert unfinished(stopped) == f"not finished: {steps} steps, 1 of 24 epochs"
    (finished,) = copied(tmp_path / "other", "m")
    assert unfinished(finished) == ""
    (score, *_) = evaluate(stopped)
    assert score.trained == said
    assert said.upper() in conditions(score)
    assert json.loads((stopped / "scores.json").read_text())[0]["trained"] == said
    assert "trained" not in evaluate(finished)[0].to_json()
    text = report([stopped], tmp_path / "page.html", below={}, say=lambda line: None).read_text()
    assert text.count(said) >= 2, "beside its name and in the headline"
    found, _ = compare([finished, stopped.rename(tmp_path / "early")], resamples=100)
    assert [row["trained"] for row in found[0].to_json()["runs"]] == ["", said]


def test_it_is_said_of_the_model_and_kept_with_what_it_embeds(stopped, tmp_path):
    model = open_model(stopped, device="cpu")
    assert model.trained.startswith("not finished: ")
    recipe, lines = load_recipe(stopped / "recipe.yaml"), []
    split = open_split(recipe)
    folder = tmp_path / "images"
    folder.mkdir()
    for record in split.query[:2]:
        shutil.copy(record.path, folder)
    embed(stopped, folder, tmp_path / "out", workers=0, device="cpu", precision="float32", say=lines.append)
    assert any("WARNING" in line and model.trained in line for line in lines)
    assert card_of(tmp_path / "out").trained == model.trained
    evaluate(stopped)
    assert card_of(stopped / "features.npz").trained == model.trained
    for name, given in {"out": (), "m/features.npz": ("--model", model.fingerprint)}.items():
        where = str(tmp_path / f"gallery of {len(name)}")
        added = gallery("add", where, str(tmp_path / name), *given)
        assert f"is {model.trained}." in added
        said = gallery("stats", where)
        assert f"trained: {model.trained}\n" in said
        assert (
            f"preprocessing: height {recipe.data.height}, width {recipe.data.width}, interpolation bilinear, mean 0.4"
            in said
        )
        kept = json.loads(gallery("stats", where, "--json"))
        assert (kept["trained"], kept["preprocessing"]) == (model.trained, model.preprocessing.to_json())


def gallery(*arguments):
    result = CliRunner().invoke(app, ["gallery", *arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def test_the_exported_file_says_it(stopped, tmp_path):
    pytest.importorskip("onnxruntime")
    from crossreid.inference.exporting.export import export_onnx

    written = export_onnx(stopped, tmp_path / "model.onnx")
    assert written.trained == open_model(written.path, device="cpu").trained == unfinished(stopped)
