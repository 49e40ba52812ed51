"""Probes of real runs: whom they look at, what they keep, what they refuse."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from crossreid.analysis.factors import read_factors
from crossreid.analysis.factors_of_runs import probe_runs, readings_of, summed, unseen
from crossreid.cli.app import app
from crossreid.data.records import DataError
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.embedding import observe
from crossreid.runs.named_network import NOT_TRAINED
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_split
from crossreid.runs.train import train
from few_fits import quick_probes
from weight_files import write_weights

METHOD = {"backbone": {"name": "test_resnet", "weights": "none"}, "bottleneck": {"hidden": [8], "width": 4}}


def recipe_for(world, **method):
    return make_recipe(
        {
            "data": {"name": "sysu-mm01", "root": str(world), "height": 32, "width": 16, "workers": 0,
                     "sampler": {"identities": 2, "images": 4}},
            "method": {"name": "variational_distillation", **METHOD, **method},
            "training": {"epochs": 1},
        }
    )  # fmt: skip


@pytest.fixture(autouse=True)
def few_fits(monkeypatch):
    """What probes find is tested with the probes; here they only have to be asked."""
    quick_probes(monkeypatch)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("probing")
    synthesise(place / "world", "sysu-mm01", 12, 0, images_per_camera=1, size=(32, 16), workers=1)
    synthesise(place / "others", "manifest", 20, 0, images_per_camera=2, size=(32, 16), workers=1)
    for seed in (0, 1):
        recipe = make_recipe(recipe_for(place / "world").model_dump(mode="json"), [f"training.seed={seed}"])
        train(recipe, place / "vd" / f"seed-{seed}")
    return place


def test_people_who_were_trained_on_are_left_out(place):
    """Both worlds have the seed 0, so that the first twelve people are the same ones, under other names."""
    split = open_split(recipe_for(place / "world"))
    trained = {int(record.identity) for record in split.train}
    left = unseen(read_factors(place / "others"), split)
    assert trained
    assert {int(name) for name in left.identities.tolist()} == set(range(1, 21)) - trained
    with pytest.raises(DataError, match="everyone in this world was used for training"):
        unseen(left.take(np.zeros(len(left.records), dtype=bool)), split)


@pytest.mark.slow
def test_runs_are_probed_once_and_summed_up(place, tmp_path, monkeypatch):
    table = probe_runs([place / "vd"], tmp_path, world=place / "others", untrained=True, say=lambda line: None)
    assert [method["name"] for method in table["methods"]] == ["vd", "untrained"]
    assert [method["runs"] for method in table["methods"]] == [2, 2]
    groups = table["methods"][0]["groups"]
    assert {row["stream"] for row in groups} == {"specific", "shared"}
    assert {row["group"] for row in groups} >= {
        "identity",
        "identity across",
        "shared",
        "hidden visible-only",
        "camera",
    }
    assert all(len(row["shares"]) == 2 for row in groups)
    assert json.loads((tmp_path / "probes.json").read_text()) == table
    monkeypatch.setattr("crossreid.analysis.factors_of_runs.read_all", None)  # nothing is read twice
    again = CliRunner().invoke(
        app, ["probe", str(place / "vd"), "--world", str(place / "others"), "--untrained", "--out", str(tmp_path / "b")]
    )
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "b" / "probes.json").read_text()) == table
    assert (tmp_path / "b" / "probes.png").stat().st_size > 10_000
    table_of_factors = place / "others" / "factors.csv"
    text = table_of_factors.read_text(encoding="utf-8")
    table_of_factors.write_text(text.replace("backpack", "handbag"), encoding="utf-8")
    with pytest.raises(TypeError):  # another world of the same name is read anew
        readings_of(place / "vd" / "seed-0", place / "others")
    table_of_factors.write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_view_specific_factors_count_where_they_can_be_seen(place):
    readings = readings_of(place / "vd" / "seed-0", place / "others")
    rows = {(r["stream"], r["space"], r["probe"], r["group"]): r["shares"] for r in summed([readings])}
    seen = [r.share for r in readings if (r.stream, r.space, r.probe) == ("shared", "v", "linear")
            and r.group == "visible-only" and r.modality == "visible"]  # fmt: skip
    assert rows["shared", "v", "linear", "visible-only"] == [pytest.approx(np.mean(seen))]
    hidden = [r.share for r in readings if (r.stream, r.space, r.probe) == ("shared", "v", "linear")
              and r.group == "visible-only" and r.modality == "infrared"]  # fmt: skip
    assert rows["shared", "v", "linear", "hidden visible-only"] == [pytest.approx(np.mean(hidden))]


def test_what_has_no_branches_is_refused(place, tmp_path):
    train(make_recipe({**recipe_for(place / "world").model_dump(mode="json"), "method": {"name": "baseline",
          "backbone": METHOD["backbone"]}}), tmp_path / "plain")  # fmt: skip
    with pytest.raises(ValueError, match="has no branches to observe"):
        readings_of(tmp_path / "plain", place / "others")


@pytest.mark.slow
def test_a_network_that_starts_from_weights_is_read_with_these_and_with_random_ones(place, tmp_path, monkeypatch):
    write_weights(tmp_path / "w.safetensors", seed=7)  # another than that of the runs, which draws what it drew
    backbone = {"name": "test_resnet", "weights": str(tmp_path / "w.safetensors")}
    train(recipe_for(place / "world", backbone=backbone), tmp_path / "run")
    looked_at = []
    monkeypatch.setattr(
        "crossreid.analysis.factors_of_runs.observe",
        lambda method, *given, **options: looked_at.append(method.state_dict()) or observe(method, *given, **options),
    )
    table = probe_runs([tmp_path / "run"], tmp_path, world=place / "others", untrained=True, say=lambda line: None)
    assert [method["name"] for method in table["methods"]] == ["run", NOT_TRAINED, "untrained"]
    theirs = next(tensor for tensor in load_file(tmp_path / "w.safetensors").values() if tensor.ndim == 4)
    has_them = [any(torch.equal(own, theirs) for own in state.values()) for state in looked_at]
    assert has_them == [False, True, False]
