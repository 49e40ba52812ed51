"""What the pages of docs/methods say is there: keys with their values, functions, recipes, terms and their weights."""

import importlib
import re
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from crossreid.errors import CrossreidError
from crossreid.methods import METHODS
from crossreid.methods.building import method_options
from crossreid.options import SettingOptions
from method_cases import CASES, batch_of, method_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "methods").glob("*.md"))}
# In the repository, or in the package, where they are taken by name.
RECIPES = {path.name for folder in ("recipes", "src/crossreid/runs/recipes") for path in (ROOT / folder).glob("*.yaml")}
KEY = re.compile(r"`method\.([a-z_.]+)(?:: ([^`]+))?`")
# Columns of tables that say what a setting has, by a word of their heads.
SETTINGS = {"paper": "paper", "official": "official", "here": "crossreid"}
NAMES = {
    page: [name for name in re.findall(r"`method\.name: (\w+)`", text) if name in METHODS]
    for page, text in PAGES.items()
}


def options(name, setting="crossreid"):
    """All values of a method in a setting, as a recipe writes them."""
    given = {"name": name}
    if issubclass(METHODS[name].options, SettingOptions):
        given["setting"] = setting
    elif setting != "crossreid":
        return {}
    return method_options(given).model_dump(mode="json")


def value_at(values, key):
    """The value of a dotted key; KeyError where there is none."""
    for part in key.split("."):
        values = values[part]
    return values


def accepts(name, key, value):
    """Whether a recipe may give the key this value, in one of the settings."""
    for part in reversed(key.split(".")):
        value = {part: value}
    for setting in SETTINGS.values():
        given = {"name": name, **value}
        if issubclass(METHODS[name].options, SettingOptions):
            given.setdefault("setting", setting)
        try:
            method_options(given)
        except (ValidationError, CrossreidError):
            continue
        return True
    return False


def tables(text):
    """The tables of a page, each a list of rows by the heads of their columns."""
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        head, _, *rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines()]
        yield [dict(zip(head, row, strict=True)) for row in rows]


def weighed_terms():
    """A page, the names of a row's terms as they are logged, and the keys that weigh them, of each row that has such keys."""
    for page, text in PAGES.items():
        for row in (row for table in tables(text) for row in table if "term, as logged" in row):
            terms = re.findall(r"`(\w+)`", row["term, as logged"])
            keys = [key for key, value in KEY.findall(row["key"]) if key.endswith("weight") and not value]
            if terms and keys:
                yield page, terms, keys


def test_every_method_has_a_page():
    own = {name for name, method in METHODS.items() if method.owner.__module__.startswith("crossreid.methods.")}
    described = [name for names in NAMES.values() for name in set(names)]
    assert len(own) > 6
    assert own == set(described)
    assert [page for page, names in NAMES.items() if not names] == []


@pytest.mark.parametrize("page", PAGES)
def test_keys_are_those_of_the_method_and_their_values_possible(page):
    found = KEY.findall(PAGES[page])
    assert len(found) > 3
    for key, value in found:
        having = []
        for name in NAMES[page]:
            try:
                value_at(options(name), key)
            except KeyError:
                continue
            having.append(name)
        assert having, f"{page}.md: no key method.{key}"
        if value:
            read = yaml.safe_load(value)
            assert any(accepts(name, key, read) for name in having), f"{page}.md: method.{key}: {value}"


@pytest.mark.parametrize("page", PAGES)
def test_columns_of_keys_name_keys(page):
    for row in (row for table in tables(PAGES[page]) for row in table if "key" in row):
        for code in re.findall(r"`[^`]+`", row["key"]):
            assert KEY.fullmatch(code), f"{page}.md: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_setting_is_said_to_have_it_has(page):
    """`method.KEY: VALUE` in a column headed paper, release (`official`) or here, of one of the page's methods at least."""
    for row in (row for table in tables(PAGES[page]) for row in table):
        for head, cell in row.items():
            setting = next((setting for word, setting in SETTINGS.items() if word in head), None)
            if setting is None:
                continue
            for key, value in (pair for pair in KEY.findall(cell) if pair[1]):
                has = [value_at(of, key) for name in NAMES[page] if (of := options(name, setting)) and has_key(of, key)]
                assert yaml.safe_load(value) in has, f"{page}.md: method.{key} is {has} in {setting}, not {value}"


def has_key(values, key):
    try:
        value_at(values, key)
    except KeyError:
        return False
    return True


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_package_can_be_imported(page):
    named = set(re.findall(r"`(crossreid(?:\.\w+)+)`", PAGES[page]))
    for name in named:
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), f"{page}.md: {name}"
    assert any(name.startswith("crossreid.losses.") for name in named)


@pytest.mark.parametrize("page", PAGES)
def test_recipes_are_there_and_all_of_the_method_are_named_by_their_pattern(page):
    named = set(re.findall(r"\b([a-z]\w*(?:-\w+)*\.yaml)\b", PAGES[page]))
    assert named
    assert named <= RECIPES
    for name in NAMES[page]:
        assert f"`{METHODS[name].recipes}`" in PAGES[page], f"{page}.md: {METHODS[name].recipes}"


@pytest.mark.parametrize("page", PAGES)
def test_formulas_read_alike_on_the_site_and_elsewhere(page):
    """No alignment, of which MathML keeps the signs, and no escaped signs or lists, which readers of Markdown take out."""
    formulas = re.findall(r"^\$\$\n(.*?)^\$\$$", PAGES[page], flags=re.M | re.S)
    assert PAGES[page].count("$$") == 2 * len(formulas) > 0
    for formula in formulas:
        assert not re.search(r"&|\\[^A-Za-z ]|^[-+*=] |^\d+[.)] ", formula, flags=re.M), formula
        assert formula.count("{") == formula.count("}")


@pytest.mark.parametrize(("page", "terms", "keys"), list(weighed_terms()), ids=lambda part: str(part)[:60])
def test_terms_are_logged_and_doubled_by_the_keys_that_weigh_them(page, terms, keys):
    """On a small network and one batch: twice the weight, twice the term."""
    logged = 0
    for name in NAMES[page]:
        case = next((case for case, (of, _) in CASES.items() if of == name and set(terms) <= losses(case).keys()), None)
        if case is None:
            continue
        whole, values = losses(case), method_of(case).options.model_dump()
        twice = {key: losses(case, **{key: 2 * values[key]}) for key in keys}
        for term in terms:
            growth = {key: float(of[term] / whole[term]) for key, of in twice.items()}
            assert any(abs(grown - 2) < 1e-3 for grown in growth.values()), f"{page}.md: {term} grows by {growth}"
        logged += 1
    assert logged, f"{page}.md: no method logs {terms}"


def losses(case, **changes):
    method, batch = method_of(case, **changes), batch_of(case)
    torch.manual_seed(1)
    with torch.no_grad():
        return method.losses(batch)
