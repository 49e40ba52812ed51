"""The built site holds every page, loads nothing from elsewhere, and says in words and shapes what the docstrings say."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import griffe
import markdown
import pytest
import site_docstrings
import site_hooks
import site_loads
import site_reference
import yaml
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "site"
DOCS = ROOT / "docs"
FORMULAS = next(
    one
    for one in yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["markdown_extensions"]
    if "pymdownx.arithmatex" in one
)


def text_of(page):
    """What a reader sees of a page, on one line."""
    whole = (SITE / page).read_text(encoding="utf-8")
    article = re.search(r"<article.*?</article>", whole, flags=re.S)[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", article)).split())


def test_nothing_is_loaded_from_elsewhere():
    assert site_loads.from_elsewhere(SITE) == []


def test_everything_that_pages_load_is_there():
    assert site_loads.missing(SITE) == []


def test_every_picture_says_what_it_shows():
    assert site_loads.pictures_without_text(SITE) == []


def test_every_page_is_there_and_in_the_navigation():
    start = (SITE / "index.html").read_text(encoding="utf-8")
    pages = sorted(path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md"))
    assert len(pages) > 30
    linked = {(target or "index.html") for target in re.findall(r'href="([^"#?:]*)"', start)}
    assert [str(page) for page in pages if str(page) not in linked] == []
    assert [str(page) for page in pages if not (SITE / page).is_file()] == []
    assert not list(SITE.rglob("*.py"))


def test_public_names_are_on_the_reference_with_types():
    for room, names in site_reference.rooms().items():
        whole = (SITE / "reference" / f"{room}.html").read_text(encoding="utf-8")
        for name, path in names.items():
            assert f'id="{path}"' in whole, name
            assert f"crossreid.{name}" in whole, name
    losses = text_of("reference/losses.html")
    assert "triplet_loss (" in losses
    assert "-> Tensor" in losses
    assert "(N, C)" in losses


def test_arguments_that_share_a_description_have_an_entry_each():
    whole = (SITE / "reference" / "losses.html").read_text(encoding="utf-8")
    metric = whole[whole.index('id="crossreid.losses.metric.modality_aware_ranking_loss"') :]
    entries = re.findall(r"<code>(\w+)</code>", metric[: metric.index("<h2", 9)])
    assert {"labels", "modalities", "same", "across"} <= set(entries)


def test_keys_of_options_say_what_they_mean():
    assert "Number of epochs, as defined by data.sampler.epoch." in text_of("reference/training.html")


def test_formulas_become_mathml():
    text = "A loss $D_{KL}(p \\,\\|\\, q) < 1$ costs `$HOME` nothing.\n\n$$\n\\sum_{i=1}^{N} x_i\n$$\n"
    made = markdown.markdown(text, extensions=["pymdownx.arithmatex"], extension_configs=FORMULAS)
    html = site_hooks._FORMULA.sub(
        lambda found: site_hooks.formula(found["latex"], found["tag"] == "div", "p.md"), made
    )
    assert html.count("<math ") == 2
    assert 'display="block"' in html
    assert "<code>$HOME</code>" in html
    assert "arithmatex" not in html
    assert re.search(r"<msub><mi>D</mi>.*?<mo>&#x0003C;</mo>", html)


def test_a_formula_that_is_none_is_named():
    with pytest.raises(PluginError, match=r"methods/vd\.md: expected a formula in LaTeX, found .x_1_2"):
        site_hooks.formula("x_1_2", False, "methods/vd.md")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Sum.\n\nArgs:\n    a, b: logits\n        `(B, C)`.\n    c: one.\n",
         "Sum.\n\nArgs:\n    a: logits\n        `(B, C)`.\n    b: logits\n        `(B, C)`.\n    c: one.\n"),
        ("Raises:\n    A, B: never.\n", "Raises:\n    A, B: never.\n"),
        ("One, two: text.", "One, two: text."),
    ],
)  # fmt: skip
def test_arguments_are_taken_apart(before, after):
    assert site_docstrings.apart(before) == after


def test_a_docstring_with_arguments_together_is_read_without_a_warning(tmp_path, caplog):
    (tmp_path / "two.py").write_text(
        'def f(a: int, b: int):\n    """F.\n\n    Args:\n        a, b: numbers.\n    """\n'
    )
    extensions = griffe.load_extensions(site_docstrings.Habits)
    function = griffe.load("two", search_paths=[tmp_path], extensions=extensions)["f"]
    (section,) = (part for part in function.docstring.parse("google") if part.kind.value == "parameters")
    assert [(entry.name, entry.description) for entry in section.value] == [("a", "numbers."), ("b", "numbers.")]
    assert not caplog.records


BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")


@pytest.mark.skipif(BROWSER is None, reason="needs a browser, which .ci/run installs")
def test_a_page_that_was_opened_as_a_file_can_be_searched(tmp_path):
    address = f"{(SITE / 'index.html').as_uri()}?q=reciprocal"
    shown = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--virtual-time-budget=20000", "--dump-dom", address],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    found = re.findall(
        r'class="md-search-result__link"[^>]*href="([^"]+)"|href="([^"]+)"[^>]*class="md-search-result__link"', shown
    )
    assert any("evaluation.html" in one or "evaluation.html" in other for one, other in found)
