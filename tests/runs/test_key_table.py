"""The tables of keys say what recipes do: each default is read off the page and compared with what a recipe gets."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from crossreid.methods import METHODS
from crossreid.options import dotted
from crossreid.runs.key_table import keys, keys_as_markdown
from crossreid.runs.key_types import UNKNOWN
from crossreid.runs.recipe import make_recipe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
PART = PAGE.partition("## Every key\n\n")[2]
DATA = {"name": "sysu-mm01", "root": "data"}
LATER = {"data.interpolation", "data.normalise.mean", "data.normalise.std"}  # filled in by the backbone's weights


def tables(heading):
    """The tables below a heading of the page, each a list of rows by column."""
    (below,) = re.findall(rf"^### {re.escape(heading)}\n(.*?)(?=^### |\Z)", PART, flags=re.M | re.S)
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", below, flags=re.M):
        head, _, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def headings():
    return re.findall(r"^### (.*)$", PART, flags=re.M)


def cell(text):
    return yaml.safe_load(text.strip("`"))


def shown(method, setting):
    """Every key of a method by the value that the page shows for a setting: the method's own tables over the shared ones."""
    values = {}
    shared = [heading for heading in headings() if heading.startswith("`method`")]
    for heading in [*shared, f"`method.name: {method}`"]:
        for row in (row for table in tables(heading) for row in table):
            if heading.startswith("`method`: keys of `") and f"`{method}`" not in heading:
                continue
            others = row.get("methods", "all")
            named = f"`{method}`" in others
            if others != "all" and named == others.startswith("all but "):
                continue
            other = row.get(f"`{setting}`", "") if setting != "crossreid" else ""
            values[row["key"].strip("`")] = cell(other or row["default"])
    return values


def held(recipe, key, otherwise):
    """What a recipe has at a dotted key, as YAML has it; `otherwise` where the section of the key is null."""
    value = recipe
    for part in key.split("."):
        if value is None:
            return otherwise
        value = getattr(value, part)
    if isinstance(value, BaseModel):
        raise AssertionError(f"{key} is a section")
    return yaml.safe_load(yaml.safe_dump(to_jsonable_python(value)))


def in_full(recipe, section):
    """The keys that a kept recipe has in a section."""
    return [key for key in dotted(recipe.model_dump(mode="json")[section], f"{section}.") if key != "method.name"]


def settings_of(name):
    return ["crossreid", "paper", "official"] if "setting" in METHODS[name].options.model_fields else ["crossreid"]


@pytest.mark.parametrize(
    ("method", "setting"), [(method, setting) for method in METHODS for setting in settings_of(method)]
)
def test_the_values_shown_are_those_of_a_recipe(method, setting):
    given = {"name": method} if setting == "crossreid" else {"name": method, "setting": setting}
    recipe = make_recipe({"data": DATA, "method": given})
    values = shown(method, setting)
    for key, value in values.items():
        if key != "method.setting":
            assert value == held(recipe, key, value), key
    assert all(key in values or values.get(key.rpartition(".")[0]) == {} for key in in_full(recipe, "method"))


@pytest.mark.parametrize("section", ["data", "training", "evaluation"])
def test_the_defaults_of_other_sections_are_those_of_a_recipe(section):
    recipe = make_recipe({"data": DATA, "method": {"name": "baseline"}})
    (rows,) = tables(f"`{section}`")
    values = {row["key"].strip("`"): cell(row["default"]) for row in rows}
    assert set(in_full(recipe, section)) <= set(values)
    for key, value in values.items():
        if value != "required" and key not in LATER and not key.startswith("data.sources."):
            assert value == held(recipe, key, value), key


def test_distillation_is_shown_as_the_default_setting_has_it():
    values = shown("variational_distillation", "crossreid")
    assert [values[f"method.{key}"] for key in ("self_weight", "mutual_weight", "test_features")] == [
        2.0,
        8.0,
        "observation",
    ]
    assert shown("variational_distillation", "paper")["method.self_weight"] == 2.0


def test_a_key_is_described_once():
    rows = [row for heading in headings() for table in tables(heading) for row in table if "meaning" in row]
    told = [(row["key"], row["type"], row["meaning"]) for row in rows]
    assert len(told) == len(set(told))
    assert sum(key.startswith("`method.backbone.") for key, _, _ in told) == len(
        [key for key in keys(METHODS["baseline"].options, "method.") if key.name.startswith("method.backbone.")]
    )


def test_every_key_is_described_and_no_type_is_written_as_python_writes_it():
    rows = list(keys())
    assert len(rows) > 60
    for key in rows:
        assert key.meaning, key
        assert key.meaning.endswith((".", ")")), key
        assert UNKNOWN not in key.type.split(), key
        assert not re.search(r"Union|Annotated|Optional|tuple|dict\b|\bstr\b|\bint\b|float|bool|None|\w\[", key.type), (
            key
        )


def test_every_method_has_its_part():
    assert [heading for heading in headings() if heading.startswith("`method.name")] == [
        f"`method.name: {name}`" for name in METHODS
    ]


def test_the_page_is_what_the_command_writes():
    assert keys_as_markdown() == PART, "put below 'Every key' in docs/recipes.md what `crossreid recipe --keys` prints"
