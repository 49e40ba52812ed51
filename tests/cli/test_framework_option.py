"""What MindSpore cannot do is said in one line, before anything is written and without MindSpore."""

import json

import pytest

import crossreid
from crossreid.errors import CrossreidError
from crossreid.mindspore.limits import refuse_unsupported, require_mindspore
from crossreid.runs.recipe import make_recipe
from mindspore_runs import tiny_recipe
from typed_commands import refused


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_recipe(tmp_path / "world").as_yaml())
    return file


def test_an_unknown_framework_is_refused(recipe, capsys):
    said = refused(capsys, "train", recipe, "--framework", "tensorflow")
    assert "--framework 'tensorflow': expected torch or mindspore." in said
    said = refused(capsys, "train", recipe, "--set", "training.framework=tensorflow")
    assert "training.framework" in said
    assert "mindspore" in said


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.precision=bf16-mixed", "training.precision is bf16-mixed, expected 32-true"),
        ("training.devices=2", "training.devices is 2, expected 1"),
        ("training.nodes=2", "training.nodes is 2, expected 1"),
        ("training.compile=true", "training.compile is true, expected false"),
        ("training.ema=0.9", "training.ema is 0.9, expected null"),
        ("training.accumulate=2", "training.accumulate is 2, expected 1"),
        ("training.freeze=[stem]", "training.freeze is ['stem'], expected []"),
        ("training.freeze_batch_statistics=true", "training.freeze_batch_statistics is true, expected false"),
        ("training.checkpoint_activations=true", "training.checkpoint_activations is true, expected false"),
        ("training.accelerator=cuda", "training.accelerator is cuda, expected auto"),
    ],
)
def test_what_of_a_recipe_only_torch_does_is_refused_by_its_key(recipe, capsys, tmp_path, override, expected):
    out = tmp_path / "out"
    said = refused(capsys, "train", recipe, "--framework", "mindspore", "--set", override, "--out", out)
    assert expected in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"name": "baseline"}, "the method is baseline, expected variational_distillation"),
        ({"stages": {"split": 2}}, "method.stages asks for two streams"),
        ({"backbone": {"attention": "bam"}}, "method.backbone.attention is bam"),
        ({"backbone": {"non_local": [0, 1]}}, "method.backbone.non_local"),
        ({"backbone": {"mixstyle": {"stages": [1]}}}, "method.backbone.mixstyle"),
        ({"backbone": {"lora": {"rank": 2}}}, "method.backbone.lora"),
        ({"backbone": {"name": "osnet_x0_25"}}, "method.backbone.name is osnet_x0_25"),
    ],
)
def test_another_network_is_refused_by_its_key(method, said):
    data = {"name": "sysu-mm01", "root": "data", "height": 64, "width": 32}
    backbone = {"name": "test_resnet", "weights": "none", **method.get("backbone", {})}
    given = make_recipe({"data": data, "method": {"name": "variational_distillation", **method, "backbone": backbone}})
    with pytest.raises(CrossreidError, match=f"^--framework mindspore: {said}"):
        refuse_unsupported(given)


@pytest.mark.parametrize("setting", ["crossreid", "paper", "official"])
def test_every_setting_is_supported(setting, tmp_path):
    refuse_unsupported(tiny_recipe(tmp_path, setting=setting))


def test_without_mindspore_the_extra_is_named(recipe, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CrossreidError, match=r"pip install 'crossreid\[mindspore\]'"):
        require_mindspore()
    for command in (
        ("train", recipe, "--framework", "mindspore", "--out", tmp_path / "out"),
        ("export", tmp_path, "--to", "mindspore"),
        ("import", tmp_path / "weights.ckpt", "--out", tmp_path / "run"),
    ):
        assert "mindspore, which is not installed: pip install 'crossreid[mindspore]'" in refused(capsys, *command)


def test_torch_does_not_train_what_says_mindspore(tmp_path):
    recipe = tiny_recipe(tmp_path / "world", "training.framework=mindspore")
    with pytest.raises(CrossreidError, match=r"training\.framework is 'mindspore'.*expected torch"):
        crossreid.train(recipe, tmp_path / "out")


def test_a_mindspore_checkpoint_is_no_run_and_what_makes_it_one_is_said(tmp_path, capsys):
    file = tmp_path / "weights.ckpt"
    file.write_bytes(json.dumps({}).encode())
    assert f"crossreid import {file} --out RUN" in refused(capsys, "evaluate", file)
