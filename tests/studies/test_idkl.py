"""What the studies of implicit discriminative knowledge learning compare."""

from pathlib import Path

import pytest

from crossreid.runs.recipe import RecipeError, load_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.studies.idkl import idkl_recipe, idkl_study, lambda_study

BASE = load_recipe(SHIPPED / "idkl_synthetic.yaml")


def method_of(study, key):
    cell = next(cell for cell in study.cells if cell.key == key)
    recipe = study.recipe(BASE, cell, 4, Path("out"))
    assert recipe.training.seed == 4
    assert recipe.data == BASE.data
    return recipe.method


def test_terms_come_one_after_another():
    study = idkl_study()
    keys = ("purifier", "relation_weight", "class_weight", "discrepancy_weight")
    on = [[bool(getattr(method_of(study, key), k)) for k in keys] for key in ("base", "purifier", "tgsa", "csa", "mdr")]
    assert on == [[place < count for place in range(4)] for count in range(5)]
    assert method_of(study, "mdr") == BASE.method
    assert method_of(study, "no-confuser").confuser == "none"
    assert method_of(study, "pseudo-labels") == BASE.method.model_copy(update={"confuser": "pseudo_labels"})
    with pytest.raises(RecipeError, match="Expected implicit_knowledge"):
        idkl_recipe(load_recipe(SHIPPED / "agw_synthetic.yaml"), study.cells[0], 0, Path("out"))


def test_each_weight_moves_alone_and_the_reference_is_the_recipe():
    study = lambda_study()
    for cell in study.cells:
        method = method_of(study, cell.key)
        (key,) = cell.changes
        assert getattr(method, key) == cell.place
        assert method.model_copy(update={key: getattr(BASE.method, key)}) == BASE.method
    assert method_of(study, study.reference) == BASE.method
