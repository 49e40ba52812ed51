"""The fragments of recipes that docs/fine_tuning.md shows, and the recipe that it is about."""

import re
from pathlib import Path

import yaml

from crossreid.runs.recipe import load_recipe, make_recipe
from crossreid.runs.shipped import SHIPPED

ROOT = Path(__file__).resolve().parents[2]


def test_fragments_of_the_page_are_recipes():
    page = (ROOT / "docs" / "fine_tuning.md").read_text(encoding="utf-8")
    fragments = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, flags=re.M | re.S)]
    assert len(fragments) == 2
    method = {"name": "baseline", "backbone": {"name": "resnet18", "weights": "none"}}
    recipes = [make_recipe({"data": {"name": "manifest", "root": "x"}, "method": method} | part) for part in fragments]
    assert recipes[0].training.optimiser.rates == {"backbone": 0.1, "stage4": 0.3}
    assert recipes[1].training.unfreeze_after["stage3"] == 2.5


def test_the_recipe_learns_its_heads_first():
    recipe = load_recipe(SHIPPED / "baseline_finetune_manifest.yaml")
    assert recipe.start_from is not None
    assert recipe.training.unfreeze_after == {"backbone": 5}
