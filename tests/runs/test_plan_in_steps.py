"""Runs in steps: of the data at hand, of complete copies, and as the releases had them."""

import importlib.util
import itertools
import re
import sys
from pathlib import Path

import pytest
import yaml

from crossreid.data.sampling import IdentitySampler, SamplerOptions
from crossreid.data.synthetic import synthesise
from crossreid.runs.plan import official_steps, plan, plan_as_comments, plan_of
from crossreid.runs.recipe import load_recipe, make_recipe, pixels_as_text
from crossreid.runs.run import open_split
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.train import train_run
from crossreid.training.optimisation import ScheduleOptions, rate_factor
from crossreid.training.options import TrainingOptions

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(SHIPPED.glob("*.yaml"))
# Steps an epoch, epochs, and the epochs that the rate falls at, by the releases: of one run, or of teacher and student.
VD = {"sysu-mm01": 24, "regdb": 25, "llcm": 44}
IDKL = {"sysu-mm01": 195, "regdb": 68, "llcm": 151}
VKD = {"mars": (78, 52), "duke-video": (87, 58)}
RELEASED = {
    **{f"vd_{name}_official": [(steps, 600, (209,))] for name, steps in VD.items()},
    **{f"vd_{name}_paper": [(steps, 300, (209,))] for name, steps in VD.items()},
    **{f"idkl_{name}_official": [(steps, 160, (55, 95))] for name, steps in IDKL.items()},
    **{f"idkl_{name}_paper": [(steps, 160, (55, 95))] for name, steps in IDKL.items()},
    **{
        f"vkd_{name}_official": [(VKD[name.split("_")[0]][0], 300, (100, 200)), (VKD[name.split("_")[0]][1], 500, (300, 450))]
        for name in ("mars", "mars_bam", "mars_densenet121", "mars_mobilenetv2", "duke-video")
    },
    "vkd_veri-776_official": [(32, 300, (200, 250)), (48, 500, (300, 450))],
    "agw_sysu-mm01_official": [(696, 81, (20, 50))],
    "agw_regdb_official": [(65, 81, (20, 50))],
    "agw_caj_sysu-mm01_official": [(696, 81, (20, 50))],
}  # fmt: skip


def recipe_costs():
    name = "recipe_costs"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def steps_of(**given):
    """The plan of four steps per epoch."""
    training = TrainingOptions(schedule=ScheduleOptions(**given), epochs=6)
    return plan_of(make_recipe(SMALL).data, training, lambda _: 4)


SMALL = {
    "data": {"name": "manifest", "root": "nowhere", "sampler": {"identities": 2, "images": 2}},
    "method": {"name": "baseline"},
}


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem in RELEASED], ids=lambda path: path.stem)
def test_official_and_paper_recipes_take_the_releases_steps(path):
    found = recipe_costs().costs(load_recipe(path), flops=False)
    assert len(found) == len(RELEASED[path.stem])
    for cost, (steps, epochs, falls) in zip(found, RELEASED[path.stem], strict=True):
        assert set(cost.plan.epochs) == {steps}
        assert cost.plan.total == steps * epochs
        assert [step for step, _ in cost.plan.falls] == [steps * epoch for epoch in falls]
        assert [factor for _, factor in cost.plan.falls] == pytest.approx([0.1, 0.01][: len(falls)])


def test_every_official_or_paper_recipe_is_held_against_its_release():
    assert {path.stem for path in RECIPES if path.stem.endswith(("_official", "_paper"))} <= RELEASED.keys()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_headers_say_the_steps_that_the_recipe_takes(path):
    costs, recipe, text = recipe_costs(), load_recipe(path), path.read_text(encoding="utf-8")
    lines = [line for line in costs.header_lines(costs.costs(recipe, flops=False)) if line]
    steps = lines[: next((i for i, line in enumerate(lines) if line.startswith("# Cost:")), 0)]
    assert "\n".join(steps) in text
    assert "sustained 200" not in text
    for amount, number, unit, speed in re.findall(
        r"([\d,.]+) PFLOP(?: a trial)?, ([\d,.]+) (hours|minutes)[\s#]+on an NVIDIA H100 at a sustained (\d+)", text
    ):
        hours = float(amount.replace(",", "")) * 1e3 / int(speed) / 3600
        assert float(number) == pytest.approx(
            hours * (60 if unit == "minutes" else 1), rel=0.05, abs=0.55 if unit == "minutes" else 0.06
        )


@pytest.mark.parametrize("name", ["agw_regdb"])
def test_headers_say_the_costs_that_the_script_counts(name):
    costs, path = recipe_costs(), SHIPPED / f"{name}.yaml"
    recipe = load_recipe(path)
    text = path.read_text(encoding="utf-8")
    assert costs.with_lines(text, costs.header_lines(costs.costs(recipe), each=costs._each(recipe))) == text


def test_flops_are_those_of_the_layers():
    """A convolution's: two for each multiplication, thrice for forward and the two halves of backward."""
    costs = recipe_costs()
    given = {**SMALL, "method": {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}}
    sizes = [(32, 16), (64, 32)]
    small, large = (
        costs.flops_of_a_sample(
            costs._network(make_recipe({**given, "data": {**given["data"], "height": height, "width": width}}))
        )
        for height, width in sizes
    )
    assert 3.5 < large / small < 4.1  # four times the places


def test_a_teachers_flops_are_those_of_its_forward_pass():
    """A third of the student's, whose network is the teacher's and who sees as many images."""
    costs = recipe_costs()
    backbone = {"name": "test_resnet", "weights": "none"}
    data = {**SMALL["data"], "height": 32, "width": 16, "sets": {"size": 2}}
    network = costs._network(make_recipe({"data": data, "method": {"name": "view_distillation", "backbone": backbone}}))
    alone, taught = costs.flops_of_a_sample(network), costs.flops_of_a_sample(network, teacher=network)
    assert 1.25 < taught / alone < 1.4


def test_lines_take_the_place_of_those_before_and_nothing_else():
    costs = recipe_costs()
    text = "# Title.\n#\n# Hardware: a GPU.\n#           Or two.\n# Published: none.\ndata: {}\n"
    once = costs.with_lines(text, ["# Steps:    1.", "#           2.", "# Cost:     3."])
    assert once == text.replace("Or two.\n", "Or two.\n# Steps:    1.\n#           2.\n# Cost:     3.\n")
    assert costs.with_lines(once, ["# Steps:    4."]) == text.replace("Or two.\n", "Or two.\n# Steps:    4.\n")


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "constant"},
        {"kind": "cosine", "warmup_epochs": 1},
        {"milestones": (2, 4)},
        {"milestones": (4, 2, 9), "warmup_epochs": 1.5},
        {"milestone_steps": (5, 13), "warmup_steps": 3},
        {"milestone_steps": (5, 6, 13), "advance": "epoch"},
        {"milestones": (1, 3), "warmup_epochs": 2},
        {"milestones": (3,), "warmup_epochs": 2, "advance": "epoch"},
        {"warmup_steps": 100},
    ],
)
def test_a_plan_says_what_the_rate_does(given):
    found = steps_of(**given)
    options = ScheduleOptions(**given)
    rates = [rate_factor(options, step, steps_per_epoch=4, epochs=6) for step in range(24)]
    below = max(found.warmup - 4 * (options.advance == "epoch"), 0)
    if options.kind != "cosine":
        after = [below, *(step for step, _ in found.falls), 24]
        factors = [1.0, *(factor for _, factor in found.falls)]
        for (start, end), factor in zip(itertools.pairwise(after), factors, strict=True):
            assert rates[start:end] == pytest.approx([factor] * (end - start))
    assert all(rate < 1 for rate in rates[:below])
    assert found.total == 24
    assert str(found).startswith("4 steps per epoch of 4 images each, 24 steps in 6 epochs")
    assert ("cosine" in str(found)) == (options.kind == "cosine")


def test_epochs_that_differ_are_summed():
    training = TrainingOptions(epochs=3, schedule=ScheduleOptions(milestones=(1, 2), warmup_epochs=1.5))
    found = plan_of(make_recipe(SMALL).data, training, [3, 5, 2].__getitem__)
    assert (found.epochs, found.total, found.warmup) == ((3, 5, 2), 10, 6)
    assert found.falls == ((6, 0.1), (8, pytest.approx(0.01)))
    assert str(found).startswith("2 to 5 steps per epoch")


@pytest.mark.parametrize(
    ("name", "sampler", "more", "steps"),
    [
        ("sysu-mm01", {"identities": 16, "images": 8}, {"options": {"train_on": "train+val"}}, 266),
        ("sysu-mm01", {"identities": 16, "images": 8, "epoch": "identities"}, {}, 296 // 16),
        ("sysu-mm01", {"identities": 16, "images": 8}, {}, None),
        ("regdb", {"identities": 16, "images": 8}, {}, 32),
        ("regdb", {"identities": 8, "images": 8, "epoch": "identities"}, {"options": {"validation": 20}}, 23),
        ("llcm", {"identities": 12, "images": 10}, {}, 257),
        ("llcm", {"identities": 12, "images": 10, "epoch": "pairs"}, {}, None),
        ("llcm", {"identities": 8, "images": 8, "epoch": 530, "replacement": True}, {}, 530),
        ("llcm", {"identities": 12, "images": 10}, {"options": {"validation": 10}}, None),
        ("mars", {"identities": 8, "images": 4, "balance": "none"}, {"sets": {"size": 8}}, 259),
        ("veri-776", {"identities": 18, "images": 4, "balance": "none"}, {}, 524),
        ("manifest", {}, {}, None),
    ],
)  # fmt: skip
def test_steps_on_a_complete_copy_are_by_the_official_counts(name, sampler, more, steps):
    method = {"name": "view_distillation" if "sets" in more else "baseline"}
    data = {"name": name, "root": "nowhere", "sampler": sampler, **more}
    assert official_steps(make_recipe({"data": data, "method": method}).data) == steps


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    place = tmp_path_factory.mktemp("world") / "sysu"
    return synthesise(place, "sysu-mm01", 12, 0, images_per_camera=2, size=(32, 16), workers=1)


def small_recipe(root, **sampler):
    data = {"name": "sysu-mm01", "root": str(root), "height": 32, "width": 16, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 4, **sampler}
    method = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    training = {"epochs": 2, "schedule": {"milestones": [1]}}
    return make_recipe({"data": data, "method": method, "training": training})


@pytest.mark.parametrize("epoch", ["images", "identities", "pairs", 3])
def test_the_data_at_hand_is_read_and_a_run_takes_the_steps_that_it_says(people, tmp_path, capsys, epoch):
    recipe = small_recipe(people, epoch=epoch)
    split = open_split(recipe)
    found = plan(recipe, split)
    sampler = IdentitySampler(split.train, SamplerOptions(identities=2, images=4, epoch=epoch), seed=0)
    assert found.epochs == tuple(sampler.steps_in(number) for number in range(2))
    assert found.falls[0][0] == found.epochs[0]
    comments = plan_as_comments(recipe)
    assert comments == f"# on {people}: {found}.\n# {pixels_as_text(recipe)}.\n"
    assert yaml.safe_load(recipe.as_yaml() + comments) == recipe.model_dump(mode="json")
    result = train_run(recipe, tmp_path / "run")
    assert result.steps == found.total
    assert f"{tmp_path / 'run'}: {found}; {pixels_as_text(recipe)}\n" in capsys.readouterr().out


def test_what_cannot_be_read_is_said_and_is_no_error(people, tmp_path):
    (tmp_path / "empty").mkdir()
    for recipe, said in (
        (small_recipe("nowhere"), "# steps: unknown until the data is read (nowhere does not exist).\n"),
        (
            small_recipe("nowhere", epoch=9),
            "# on a complete copy (nowhere does not exist): 9 steps per epoch of 8 images",
        ),
        (small_recipe(tmp_path / "empty", epoch=9), "# on a complete copy ("),
        (small_recipe(people, identities=16), "# sampler.identities is 16, but only"),
    ):
        comments = plan_as_comments(recipe)
        assert comments.startswith(said)
        assert comments.count("\n") == (2 if "identities is" not in said else 1)


def test_each_stage_of_a_recipe_has_a_line():
    comments = plan_as_comments(load_recipe(SHIPPED / "vkd_mars.yaml", ["data.sampler.epoch=identities"]))
    teacher, its_pixels, student, pixels = comments.splitlines()
    assert its_pixels.removeprefix("# teacher, ") == pixels.removeprefix("# student, ")
    assert teacher.startswith("# teacher, on a complete copy (")
    assert "78 steps per epoch of 256 images each, 23,400 steps in 300 epochs" in teacher
    assert student.startswith("# student, on a complete copy (")
    assert "52 steps per epoch of 384 images each, 26,000 steps in 500 epochs" in student
