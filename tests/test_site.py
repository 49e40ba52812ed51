"""What makes the site out of docs/: links that lead out of it, what pages load, what the navigation and the reference name."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

import crossreid

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NAVIGATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


LINKS, LOADS, REFERENCE = module("site_links"), module("site_loads"), module("site_reference")


def named(entries):
    for entry in entries:
        for of in entry.values() if isinstance(entry, dict) else [entry]:
            yield from named(of) if isinstance(of, list) else [of]


def test_every_page_is_in_the_navigation_once():
    patterns = [one for one in named(NAVIGATION) if "*" in one]
    matched = [path.relative_to(DOCS).as_posix() for pattern in patterns for path in DOCS.glob(pattern)]
    shown = [one for one in named(NAVIGATION) if "*" not in one and not one.startswith("source/")] + matched
    assert sorted(shown) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert all(LINKS.place_on_site(path) for path in LINKS.sources(list(named(NAVIGATION))))


@pytest.mark.parametrize(
    ("link", "home", "at", "after"),
    [
        ("[s](../benchmarks/film.py)", "docs/video.md", "video.md", "[s](source/benchmarks/film.py.md)"),
        ("[s](../CONTRIBUTING.md#tests)", "docs/index.md", "index.md", "[s](source/CONTRIBUTING.md#tests)"),
        ("[s](../../examples/)", "docs/methods/x.md", "methods/x.md", "[s](../source/examples.md)"),
        ("[s](docs/search.md)", "CONTRIBUTING.md", "source/CONTRIBUTING.md", "[s](../search.md)"),
        ("[s](../docs/results.md)", "benchmarks/README.md", "source/benchmarks.md", "[s](../results.md)"),
        ("[s](../benchmarks/README.md)", "docs/video.md", "video.md", "[s](source/benchmarks.md)"),
        ("[s](../benchmarks)", "docs/video.md", "video.md", "[s](source/benchmarks.md)"),
        ("![s](figures/cmc.svg)", "docs/search.md", "search.md", "![s](figures/cmc.svg)"),
        ("[s](search.md#filters)", "docs/service.md", "service.md", "[s](search.md#filters)"),
        ("[s](#filters)", "docs/service.md", "service.md", "[s](#filters)"),
        ("[s](https://example.org/a.md)", "docs/service.md", "service.md", "[s](https://example.org/a.md)"),
        ("[s](../benchmarks/no_such.py)", "docs/video.md", "video.md", "[s](../benchmarks/no_such.py)"),
        ("[s](../../elsewhere.md)", "docs/video.md", "video.md", "[s](../../elsewhere.md)"),
        ("`x[i](../Makefile)`", "docs/video.md", "video.md", "`x[i](../Makefile)`"),
        ("```\n[s](../Makefile)\n```", "docs/video.md", "video.md", "```\n[s](../Makefile)\n```"),
    ],
)
def test_links_lead_where_the_site_has_what_they_name(link, home, at, after):
    assert LINKS.mapped(link, home, at) == after


def test_files_that_pages_link_to_get_pages_of_their_own():
    text = "[a](../benchmarks/film.py) [b](search.md) [c](../CONTRIBUTING.md) `[d](../Makefile)` [e](../no_such)"
    paths = LINKS.outside(text, "docs/video.md")
    assert paths == ["CONTRIBUTING.md", "benchmarks/film.py"]
    made = LINKS.made(paths)
    assert set(made) == {"source/CONTRIBUTING.md", "source/benchmarks/film.py.md"}
    program = (ROOT / "benchmarks" / "film.py").read_text(encoding="utf-8")
    assert made["source/benchmarks/film.py.md"] == f"# `benchmarks/film.py`\n\n```python\n{program.rstrip()}\n```\n"
    assert "](../architecture.md)" in made["source/CONTRIBUTING.md"]
    recipes = "src/crossreid/runs/recipes"
    assert "* `vd_regdb.yaml`\n" in LINKS.made([recipes])[f"source/{recipes}.md"]
    assert LINKS.made(["benchmarks"]) == LINKS.made(["benchmarks/README.md"])
    assert "](../results.md)" in LINKS.made(["benchmarks"])["source/benchmarks.md"]


def test_what_files_of_the_navigation_lead_to_is_made_too():
    made = LINKS.made(LINKS.sources(["source/CONTRIBUTING.md", "index.md"]))
    assert set(made) == {"source/CONTRIBUTING.md"}
    readme = LINKS.made(["README.md"])
    assert {"source/README.md", "source/CONTRIBUTING.md", "source/CHANGELOG.md"} <= set(readme)


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="https://example.org/a.js"></script>', ["https://example.org/a.js"]),
        ('<script src="assets/a.js"></script><img src="a.png" alt="a">', []),
        ('<link rel="stylesheet" href="//example.org/a.css">', ["//example.org/a.css"]),
        ('<link rel="preconnect" href="https://example.org">', ["https://example.org"]),
        ('<link rel="canonical" href="https://example.org/"><a href="https://example.org/">a</a>', []),
        ("<style>@import 'https://example.org/a.css'; b{background:url(https://example.org/b.png)}</style>",
         ["https://example.org/a.css", "https://example.org/b.png"]),
        ('<p style="background: url(http://example.org/c.png)">', ["http://example.org/c.png"]),
        ('<img src="data:image/png;base64,AAAA" alt="a"><iframe src="http://example.org"></iframe>', ["http://example.org"]),
    ],
)  # fmt: skip
def test_what_a_page_loads_from_elsewhere_is_found(page, found, tmp_path):
    (tmp_path / "page.html").write_text(page)
    assert LOADS.from_elsewhere(tmp_path) == [f"page.html: {one}" for one in found]


def test_what_a_page_loads_and_is_not_there_is_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b.css").write_text("p { background: url('c.png') } q { background: url(a/page.html) }")
    (tmp_path / "a" / "page.html").write_text('<link rel="stylesheet" href="../b.css?x"><img src="no.png" alt="">')
    assert LOADS.missing(tmp_path) == ["a/page.html: no.png", "b.css: c.png"]
    assert LOADS.pictures_without_text(tmp_path) == ["a/page.html: no.png"]


def test_the_reference_has_every_public_name_and_a_sentence_on_it():
    assert set(REFERENCE.public_names()) == set(crossreid.__all__) - {"__version__"}
    pages = REFERENCE.pages()
    for name, path in REFERENCE.public_names().items():
        assert REFERENCE.summary(path), f"{name} has no docstring"
        assert f"::: {path}\n" in pages[f"reference/{path.split('.')[1]}.md"]
        assert f"[`{name}`]" in pages["reference/index.md"]


def test_a_name_is_shown_once_on_its_page():
    for room in REFERENCE.WHOLE:
        page = REFERENCE.pages()[f"reference/{room}.md"]
        modules = set(re.findall(rf"^::: crossreid\.{room}\.(\w+)$", page, flags=re.M))
        assert modules == {path.stem for path in (ROOT / "src" / "crossreid" / room).glob("[!_]*.py")}
        for name, path in REFERENCE.rooms()[room].items():
            assert page.count(f"::: {path}\n") == 1
            assert f"'!^{path.rpartition('.')[2]}$'" in page, name
