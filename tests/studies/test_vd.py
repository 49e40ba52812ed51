"""What the studies of variational distillation compare, and that a cell changes nothing but what it says."""

import pytest

from crossreid.errors import CrossreidError
from crossreid.runs.recipe import RecipeError, load_recipe, make_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.studies.vd import RIVALS, VD, rival_keys, vd_recipe, vd_study, weight_study, z_size_study

BASE = load_recipe(SHIPPED / "vd_synthetic.yaml")
METHODS_MD = {  # rank-1 and mAP of the paper's ablation, percent
    ("specific", VD): (59.62, 57.99), ("specific", RIVALS[0]): (28.69, 32.42),
    ("shared", VD): (49.22, 48.74), ("shared", RIVALS[0]): (24.34, 28.01),
    ("all", VD): (60.02, 58.80), ("all", RIVALS[0]): (30.43, 33.67),
}  # fmt: skip


def test_the_ablation_has_every_row():
    study = vd_study()
    crossed = {(cell.changes["branches"], cell.method): cell for cell in study.cells[:9]}
    assert set(crossed) == {(b, m) for b in ("specific", "shared", "all") for m in (*RIVALS, VD)}
    for key, cell in crossed.items():
        if key in METHODS_MD:
            assert (100 * cell.published["rank-1"], 100 * cell.published["mAP"]) == pytest.approx(METHODS_MD[key])
        else:
            assert cell.published is None
    weights = ("self_weight", "cross_weight", "consistency_weight")
    subsets = {tuple(key not in cell.changes for key in weights) for cell in study.cells[9:]}
    assert len(subsets) == len(study.cells[9:]) == 7
    assert (True, True, True) not in subsets  # that is all three branches' VD
    assert study.reference == "all-vd"
    assert len({cell.key for cell in study.cells}) == len(study.cells)


@pytest.mark.parametrize("cell", vd_study().cells, ids=lambda cell: cell.key)
def test_a_cell_changes_what_it_says_and_nothing_else(cell):
    recipe = vd_recipe(BASE, cell, seed=5)
    assert recipe.training.seed == 5
    assert recipe.method.name == cell.method
    own, base = recipe.method.model_dump(), BASE.method.model_dump()
    for key in set(own) & set(base) - {"name", *cell.changes}:
        assert own[key] == base[key], key
    for key, value in cell.changes.items():
        assert own[key] == value
    assert recipe.data == BASE.data
    assert recipe.model_copy(update={"training": BASE.training, "method": BASE.method}) == BASE


def test_sizes_and_weights():
    sizes = [vd_recipe(BASE, cell, 0).method.bottleneck.width for cell in z_size_study().cells]
    assert sizes == [8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    for cell in weight_study().cells:
        method = vd_recipe(BASE, cell, 0).method
        found = (
            {method.self_weight, method.cross_weight, method.consistency_weight}
            if cell.method == VD
            else {method.weight}
        )
        assert found == {cell.place}
    assert z_size_study([4, 16]).reference == "z-16"


def test_keys_of_rivals_reach_their_own_method_only():
    rival = rival_keys(["information_bottleneck.weight=1e-2", "information_bottleneck.estimator=mine"])
    cells = {cell.key: vd_recipe(BASE, cell, 0, rival) for cell in vd_study().cells}
    assert (cells["all-ib"].method.weight, cells["all-ib"].method.estimator) == (0.01, "mine")
    assert cells["all-vib"].method.weight == 1e-3
    assert cells["all-vd"].method == BASE.method


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("weight", "expected METHOD.KEY=VALUE"),
        ("weight=1", "expected METHOD.KEY=VALUE"),
        ("baseline.margin=1", "method 'baseline' is not in this study"),
        ("information_bottleneck.beta=1", "has no key 'beta'. It has .*weight"),
    ],
)
def test_wrong_keys_of_rivals_are_named(given, message):
    with pytest.raises(CrossreidError, match=message):
        rival_keys([given])


def test_a_method_without_branches_cannot_be_studied():
    plain = make_recipe({"data": {"name": "manifest", "root": "x"}, "method": {"name": "baseline"}})
    with pytest.raises(RecipeError, match="'baseline', which has no branches"):
        vd_recipe(plain, vd_study().cells[0], 0)
