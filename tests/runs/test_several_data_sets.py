"""A run on two small worlds at once, from the recipe to scores, embeddings and an exported file of each of them."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

import crossreid
from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import load
from crossreid.files import json_rows, write_json
from crossreid.inference.exporting.export import export_onnx
from crossreid.inference.open_model import open_model
from crossreid.models.domain_norm import DomainNorm
from crossreid.reporting.report import report
from crossreid.runs.compare import compare
from crossreid.runs.evaluate import evaluate, evaluate_each
from crossreid.runs.folders import named_runs
from crossreid.runs.recipe import make_recipe, recipe_of_run
from crossreid.runs.run import open_run, open_split
from crossreid.runs.source_runs import mean_over_sources
from crossreid.runs.train import train, train_run
from crossreid.training.checkpoint import load_checkpoint
from crossreid.training.framework import Framework
from crossreid.training.signals import Interrupted
from crossreid.training.step import train_step
from forked import ran_together

COMMON = {
    "height": 32, "width": 16, "workers": 0, "augment": {"pad": 2}, "sampler": {"identities": 4, "images": 2, "epoch": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    for seed, (name, layout) in enumerate((("day", "sysu-mm01"), ("own", "manifest"))):
        synthesise(folder / name, layout, 12, seed, images_per_camera=2, size=(32, 16), workers=1)
    return folder


def recipe_for(worlds, *overrides, norm="all", only=None, **common):
    day = {"name": "sysu-mm01", "root": str(worlds / "day"), "called": "day"}
    own = {"name": "manifest", "root": str(worlds / "own"), "called": "own", "levels": "picture", "weight": 3}
    listed = [{**COMMON, **day, **common}, own]
    given = listed
    if only is not None:
        given = {key: value for key, value in listed[only].items() if key not in ("called", "weight")} | COMMON
    backbone = {"name": "test_resnet", "weights": "none", **({} if only is not None else {"domain_norm": norm})}
    training = {"epochs": 1, "precision": "32-true", "optimiser": {"lr": 1e-3}}
    made = {"data": given, "method": {"name": "baseline", "backbone": backbone}, "training": training}
    return make_recipe({**made, "evaluation": {"trials": 2}}, overrides)


@pytest.fixture(scope="module")
def trained(worlds, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "both"
    train(recipe_for(worlds, "training.monitor=own/mAP"), out)
    return out


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "both")
    return tmp_path / "both"


def test_two_sets_are_validated_each_and_the_best_is_by_the_number_that_is_named(run, worlds):
    numbers = json_rows(run / "metrics.jsonl")[-1]["validation"]
    for figure in ("rank-1", "mAP", "mINP"):
        mean = np.mean([numbers[f"{name}/{figure}"] for name in ("day", "own")])
        assert numbers[figure] == numbers[f"mean/{figure}"] == pytest.approx(mean)
    assert load_checkpoint(run / "best.safetensors").facts["best"] == numbers["own/mAP"]
    with pytest.raises(CrossreidError, match=r"'own/mAp', expected one of .*day/rank-1.* Did you mean 'own/mAP'"):
        train(recipe_for(worlds, "training.monitor=own/mAp"), run.parent / "other")


def test_each_set_is_tested_by_its_own_protocol_and_only_that_one_if_named(run, worlds):
    each = evaluate_each(run)
    assert {path.name: scores[0].protocol for path, scores in each.items()} == {
        "day": "sysu-mm01",
        "own": "cross-modal",
    }
    (mean,) = mean_over_sources(each).values()
    assert mean["mAP"] == pytest.approx(np.mean([scores[0].mAP for scores in each.values()]))
    own = evaluate(run, source="own")
    assert [score.to_json() for score in own] == json.loads((run / "sources/own/scores.json").read_text())
    assert load(run / "sources/own/features.npz").names[0].startswith(str(worlds / "own"))
    assert evaluate(run / "sources" / "own")[0].to_json() == own[0].to_json()
    with pytest.raises(CrossreidError, match=r"expected one of day, own\. Did you mean 'day'"):
        evaluate(run, source="dya")
    with pytest.raises(CrossreidError, match="name one of them with --source"):
        evaluate(run, root=worlds / "own")
    assert evaluate(run, source="own", overrides=["evaluation.flip=true"])[0].mAP != own[0].mAP
    assert evaluate(run, data="manifest", root=worlds / "own")[0].protocol == "cross-modal"  # as of no known set


def test_a_source_is_seen_with_its_own_levels_and_statistics(run):
    whole, day, own = open_run(run), open_run(run / "sources/day"), open_run(run / "sources/own")
    assert (day.recipe.data.levels, own.recipe.data.levels) == ("full", "picture")
    assert own.split.test[0].levels == "picture"
    norms = [next(m for m in one.method.modules() if isinstance(m, DomainNorm)) for one in (whole, day, own)]
    assert [norm.tested_as for norm in norms] == [None, 0, 1]
    assert not torch.equal(norms[0].running_mean[0], norms[0].running_mean[1])
    with pytest.raises(CrossreidError, match="on several data sets"):
        crossreid.embed(run)


def test_what_is_served_exported_and_embedded_is_the_evaluated_network_of_each(run, worlds):
    evaluate(run)
    write_json(run / "start.json", {"run": "runs/first", "fingerprint": "0" * 64, "method": "agw"})
    prints = set()
    for name in ("day", "own"):
        view = run / "sources" / name
        model = open_model(view, device="cpu")
        features = load(view / "features.npz")
        test = open_run(view).split.test[:6]
        pixels = torch.stack(
            [model.transform(crossreid.data.images.load_image(one, at_least=(32, 16))) for one in test]
        )
        embeddings = model.embed(pixels, torch.tensor([int(one.modality) for one in test]))
        np.testing.assert_allclose(embeddings.numpy(), features.embeddings[:6], atol=1e-5)
        prints.add(model.fingerprint)
    written = export_onnx(run / "sources" / "own")
    assert written.path == run / "sources/own/model.onnx"
    prints.add(open_model(run, device="cpu").fingerprint)
    assert len(prints) == 3
    assert open_model(written.path, device="cpu").fingerprint in prints
    about = {one.key: one.value for one in onnx.load(written.path).metadata_props}
    assert json.loads(about["crossreid"])["start"] == "first (agw), fingerprint 000000000000", (
        "what the run started from"
    )


def test_runs_are_compared_on_each_set_that_both_were_tested_on(run, worlds, tmp_path):
    train(recipe_for(worlds, only=1), tmp_path / "alone")
    found, notes = compare([run, tmp_path / "alone"])
    assert [{row.name for row in one.rows} for one in found] == [{"both/own", "alone"}]
    assert any("day" in note for note in notes)


def test_the_page_has_a_block_of_each_set_and_each_set_a_page_of_its_own(run, monkeypatch):
    from few_fits import quick_maps

    quick_maps(monkeypatch)
    page = report([run], say=lambda text: None)
    text = page.read_text(encoding="utf-8")
    assert page == run / "report.html"
    for shown in ("day: all, single-shot", "own: query to gallery", "own: train identities", "Mean over them: rank-1"):
        assert shown in text
    assert "Untrained network" in text
    assert all((run / "sources" / name / "report.html").is_file() for name in ("day", "own"))


def test_an_epoch_that_was_cut_short_goes_on_to_the_same_bits(worlds, tmp_path):
    recipe = recipe_for(worlds, "training.checkpoint_steps=2", norm="statistics", mixing="alternate")
    train_run(recipe, tmp_path / "whole")

    steps = iter(range(10))

    def cut(*arguments, **options):
        if next(steps) == 3:
            raise Interrupted(15)
        return train_step(*arguments, **options)

    with pytest.raises(Interrupted):
        train_run(recipe, tmp_path / "cut", framework=lambda recipe, method: Framework(train_step=cut))
    train_run(recipe, tmp_path / "cut")
    one, other = (load_checkpoint(tmp_path / name / "last.safetensors").tensors["model"] for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_of_one_set_start_a_run_on_both_with_classifiers_of_its_own(worlds, tmp_path, capsys):
    train(recipe_for(worlds, norm="shared"), tmp_path / "first")
    again = recipe_for(worlds, f"start_from={tmp_path / 'first'}", norm="shared")
    train(again, tmp_path / "again")
    assert "newly initialised" not in capsys.readouterr().out  # the same sets, the same identities
    other = recipe_for(worlds, f"start_from={tmp_path / 'first'}", "data.sources.own.options.seed=1", norm="shared")
    train(other, tmp_path / "other")
    assert "1 newly initialised, for its own identities (classifier.weight)" in capsys.readouterr().out


def test_teacher_and_students_on_several_sets_are_each_tested_on_each(run, tmp_path):
    shutil.copytree(run, tmp_path / "staged" / "teacher")
    shutil.copytree(run, tmp_path / "staged" / "student")
    each = evaluate_each(tmp_path / "staged")
    where = [path.relative_to(tmp_path / "staged").as_posix() for path in each]
    assert where == [f"{stage}/sources/{name}" for stage in ("teacher", "student") for name in ("day", "own")]
    assert {path.parent.parent.name for path in evaluate_each(tmp_path / "staged", source="own")} == {
        "teacher",
        "student",
    }
    shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / "staged")]).output
    assert "teacher, mean over its data sets" in shown
    assert "student/day" in shown
    assert list(named_runs([tmp_path / "staged"])) == ["teacher/day", "teacher/own", "student/day", "student/own"]
    with pytest.raises(CrossreidError, match=r"2 stages on several data sets.* crossreid report .*student"):
        report([tmp_path / "staged"])


def test_two_processes_train_on_several_sets_as_one_does(worlds, tmp_path):
    # By Adam's first steps what is next to no gradient goes as far as any; batch norms have statistics of a process's images.
    changes = ("training.freeze_batch_statistics=true", "training.accelerator=cpu", "training.optimiser.name=sgd")
    train_run(recipe_for(worlds, *changes, norm="shared"), tmp_path / "one")
    both = recipe_for(worlds, *changes, "training.devices=2", norm="shared")
    logs = ran_together(2, train_run, both, tmp_path / "two", folder=tmp_path)
    assert "4 steps per epoch of 8 images each" in logs[0]
    one, two = (load_checkpoint(tmp_path / name / "last.safetensors").tensors["model"] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)
    numbers = json_rows(tmp_path / "two" / "metrics.jsonl")[-1]["validation"]
    assert {"day/mAP", "own/mAP", "mean/mAP"} <= numbers.keys()


def test_labels_are_those_of_all_sets_together(worlds):
    split = open_split(recipe_for(worlds))
    counts = [len({one.identity for one in part.train}) for _, part in split.sources]
    assert len({one.identity for one in split.train}) == sum(counts)
    cameras = [{one.camera for one in split.train if one.source == name} for name, _ in split.sources]
    assert not cameras[0] & cameras[1]


def test_the_commands_know_several_data_sets(run, worlds, tmp_path):
    file = tmp_path / "both.yaml"
    file.write_text(recipe_of_run(run).as_yaml())
    runner = CliRunner()
    resolved = runner.invoke(app, ["recipe", str(file)]).output
    assert f"# on {worlds / 'day'}, {worlds / 'own'}: 4 steps per epoch of 8 images each" in resolved
    checked = runner.invoke(app, ["check", "--recipe", str(file)])
    assert checked.exit_code == 0, checked.output
    assert "can train on all of them: 4 steps" in checked.output
    one = runner.invoke(app, ["check", "manifest", str(worlds / "own"), "--recipe", str(file)])
    assert f"{file} can train on it: 4 steps" in one.output.replace("\n", "")
    scored = runner.invoke(app, ["evaluate", str(run)])
    assert "both, mean over its data sets: rank-1" in scored.output
    file.write_text(recipe_for(worlds, "data.sources.own.root=/gone").as_yaml())
    assert "/gone does not exist" in runner.invoke(app, ["recipe", str(file)]).output
    assert runner.invoke(app, ["train", str(file), "--trials", "1"]).exit_code != 0
