"""docs/losses.md shows what was measured, and names every loss, head and key of styles with its options and defaults."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from crossreid.errors import CrossreidError
from crossreid.losses import metric_learning
from crossreid.losses.weighing import LOSSES, _options_of
from crossreid.models.margin_heads import PUBLISHED_MARGINS, HeadOptions
from crossreid.models.mixstyle import MixStyleOptions
from crossreid.reporting.study_table import markdown_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
ROWS = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `")}


def addable():
    """The options of each of our losses of features and labels."""
    found = {}
    for name, loss in LOSSES.items():
        try:
            found[name] = _options_of(name, loss)
        except CrossreidError:
            continue
    return {name: options for name, options in found.items() if LOSSES[name].__module__.startswith("crossreid.")}


def test_every_loss_has_a_row_with_its_options_and_defaults():
    known = addable()
    assert {"circle", "centre", "hetero_centre", "hetero_centre_triplet", "cross_batch_memory"} <= known.keys()
    for name, options in known.items():
        for option, field in options.model_fields.items():
            if option in ("weight", "ranked"):
                continue
            assert f"`{option}`" in ROWS[name], (name, option)
            if type(field.default) in (int, float):
                assert re.search(rf"`{option}` \(`?{field.default:g}`?\)", ROWS[name]), (name, option)
    assert f"any of {len(get_args(metric_learning.Name))} losses" in ROWS["metric_learning"]


def test_every_head_has_a_row_with_its_published_margin():
    for name in get_args(HeadOptions.model_fields["name"].annotation):
        assert ROWS[name].rstrip(" |").endswith(str(PUBLISHED_MARGINS.get(name, ""))), name


@pytest.mark.parametrize("key", MixStyleOptions.model_fields)
def test_every_key_of_styles_has_a_row(key):
    default = MixStyleOptions.model_fields[key].default
    shown = {False: "false", (): "none"}.get(default, str(default))
    assert ROWS[key].split("|")[2].strip() == shown


def test_the_table_of_cows_is_what_was_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "cattle_losses_cpu.json").read_text(encoding="utf-8"))
    assert markdown_table(measured["table"]).strip() in PAGE
