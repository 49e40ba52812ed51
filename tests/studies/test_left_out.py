"""The study that leaves one data set out: what each cell trains on and is scored on, and a table of real runs."""

import json

import pytest

from crossreid.data.synthetic import synthesise
from crossreid.reporting.plotting import plot
from crossreid.reporting.study_table import markdown_table
from crossreid.runs.named_network import PretrainedNetwork
from crossreid.runs.recipe import RecipeError, make_recipe
from crossreid.runs.zero_shot import evaluate_pretrained
from crossreid.studies.left_out import left_out_study, recipe_of
from crossreid.studies.one_run import run_by
from crossreid.studies.pretrained_rows import pretrained_rows
from crossreid.studies.running import plan, write_recipe
from crossreid.studies.summary import summary
from weight_files import write_weights

NAMES = ("a", "b", "c")


def base_of(root, count=3, backbone=(), **training):
    sources = [{"called": name, "name": "manifest", "root": str(root / name)} for name in NAMES[:count]]
    sampler = {"identities": 2, "images": 2, "epoch": 1}
    data = {"sources": sources, "height": 32, "width": 16, "workers": 0, "sampler": sampler}
    backbone = {"name": "test_resnet", "weights": "none", "domain_norm": "statistics", **dict(backbone)}
    given = {"data": data, "method": {"name": "baseline", "backbone": backbone}}
    return make_recipe({**given, "training": {"epochs": 1, "precision": "32-true", **training}})


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("left-out")
    for seed, name in enumerate(NAMES):
        synthesise(folder / name, "manifest", 8, seed, images_per_camera=2, size=(32, 16), workers=1)
    return folder


def test_each_set_is_left_out_once_and_trained_on_alone_once(worlds):
    base = base_of(worlds)
    study = left_out_study(base)
    trained = {cell.key: recipe_of(base, cell, 4) for cell in study.cells}
    assert set(trained) == {f"{name}-{kind}" for name in NAMES for kind in ("left-out", "alone")}
    out, alone = trained["b-left-out"], trained["b-alone"]
    assert [source.called for source in out.data.sources] == ["a", "c"]
    assert out.method.backbone.domains == ("a", "c")
    assert (alone.data.root, alone.data.sources, alone.method.backbone.domain_norm) == (worlds / "b", (), "shared")
    assert {recipe.training.seed for recipe in trained.values()} == {4}
    assert {cell.tested: str(study.tested(base, cell).root) for cell in study.cells} == {
        name: str(worlds / name) for name in NAMES
    }


def test_what_the_set_left_out_was_watched_by_is_watched_over_those_that_are_left(worlds):
    base = base_of(worlds, monitor="b/mAP")
    cells = {cell.key: cell for cell in left_out_study(base).cells}
    monitors = {key: recipe_of(base, cell, 0).training.monitor for key, cell in cells.items()}
    assert monitors["a-left-out"] == "b/mAP"
    assert monitors["b-left-out"] == monitors["b-alone"] == "mAP"


def test_one_set_left_is_an_ordinary_recipe(worlds):
    base = base_of(worlds, 2)
    cell = left_out_study(base).cells[0]
    recipe = recipe_of(base, cell, 0)
    assert (recipe.data.root, recipe.data.sources, recipe.method.backbone.domain_norm) == (worlds / "b", (), "shared")


def test_fewer_than_two_sets_are_refused(worlds):
    with pytest.raises(RecipeError, match="two or more"):
        left_out_study(base_of(worlds, 1))


def test_runs_are_scored_on_the_set_that_they_never_saw(worlds, tmp_path):
    base = base_of(worlds)
    study = left_out_study(base)
    jobs = [job for job in plan(base, study, tmp_path, [0]) if job.cell.tested == "b"]
    for job in jobs:
        run_by(write_recipe(job))
    table = json.loads(json.dumps(summary(study, tmp_path)))
    assert [(row["title"], row["tested"], row["reference"]) for row in table["rows"]] == [
        ("trained on a, c", "b", "b-alone"),
        ("trained on it alone", "b", "b-alone"),
    ]
    shown = markdown_table(table)
    assert "against trained on it alone" in shown
    assert "b by cross-modal" in shown
    left_out, alone = (row["figures"]["not re-ranked"]["mAP"][0] for row in table["rows"])
    assert f"{100 * (left_out - alone):+.1f}" in shown
    (tmp_path / "table.json").write_text(json.dumps(table))
    assert all(path.is_file() for path in plot([tmp_path], tmp_path))


def test_a_backbone_that_nothing_was_trained_for_stands_beside_each_set_s_runs(worlds, tmp_path):
    write_weights(tmp_path / "w.safetensors")
    base = base_of(worlds, backbone={"weights": str(tmp_path / "w.safetensors"), "last_stride_one": False})
    study = left_out_study(base)
    tests = [(job.cell, job.tested) for job in plan(base, study, tmp_path, [0]) if job.cell.tested in ("a", "b")]
    figures = {"not re-ranked": {"rank-1": [0.5], "mAP": [0.5], "mINP": [0.5]}}
    table = {"rows": [{"seeds": [0], "figures": figures}]}
    rows = pretrained_rows(tests, table, tmp_path)
    assert [(row["group"], row["tested"], row["reference"]) for row in rows] == [
        ("a", "a", "a-alone"), ("b", "b", "b-alone")
    ]  # fmt: skip
    for row in rows:
        network = PretrainedNetwork("test_resnet", str(tmp_path / "w.safetensors"), 32, 16)
        overrides = [f"evaluation.metric={base.evaluation.metric}"]
        alone = evaluate_pretrained(network, "manifest", worlds / row["tested"], tmp_path / "out", overrides=overrides)
        assert row["figures"]["not re-ranked"]["mAP"] == [pytest.approx(alone[0].mAP, abs=1e-6)]
        assert row["chance"] == alone[0].chance_rank1
