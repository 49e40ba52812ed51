"""benchmarks/city.py: the recipe that it trains by, and the table of what it measured."""

import io

import pytest
from rich.console import Console

from benchmark_modules import benchmark


@pytest.fixture
def city(monkeypatch):
    with benchmark(monkeypatch, "city") as found:
        yield found


def result(city, *, idf1):
    score = {"idf1": idf1, "hota": 0.5, "assa": 0.4, "deta": 0.9, "identities": 30, "people": 24}
    return {"scores": {name: {"within": {"idf1": 0.95}, "across": score} for name in city.ROWS}}


def test_the_table_has_a_row_each_with_means_and_deviations_over_the_seeds(city):
    console = Console(width=140, file=io.StringIO())
    console.print(city.table([result(city, idf1=0.6), result(city, idf1=0.7)]))
    lines = console.file.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == list(city.ROWS.values())
    assert all("65.0 ± 7.1" in line and line.split()[-2:] == ["30.0", "24.0"] for line in lines[1:])


def test_the_recipe_is_of_both_modalities_and_takes_overrides(city, tmp_path):
    recipe = city.recipe_of(tmp_path, 5, ["training.seed=3", "data.height=48"])
    assert (recipe.training.epochs, recipe.training.seed, recipe.data.height) == (5, 3, 48)
    assert recipe.data.root == tmp_path
