"""What mkdocs.yml asks of the site beyond its pages: made pages, links that lead out of docs/, nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import site_links
import site_loads
import site_reference

_FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', flags=re.S)
WIDE = ("clustering.md", "fidelity.md", "networks.md", "recipes.md")  # whose tables have six columns and more


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the entries of the navigation that stand for several pages."""
    config.nav = filled(config.nav or [], Path(config.docs_dir))
    return config


def filled(entries: list[Any], docs: Path) -> list[Any]:
    """Entries of a navigation with `reference/*.md` and patterns of pages of `docs` replaced by the pages themselves."""
    every: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            every.append({title: filled(of, docs) if isinstance(of, list) else of for title, of in entry.items()})
        elif entry == f"{site_reference.FOLDER}/*.md":
            every += site_reference.navigation()
        elif "*" in entry:
            every += sorted(path.relative_to(docs).as_posix() for path in docs.glob(entry))
        else:
            every.append(entry)
    return every


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and a page or picture for each file outside docs/ that the navigation or a page leads to."""
    for place, markdown in site_reference.pages().items():
        files.append(File.generated(config, place, content=markdown))
    wanted = site_links.sources(places(config.nav or []))
    for file in list(files.documentation_pages()):
        if file.generated_by is None:
            wanted += site_links.outside(file.content_string, f"{site_links.DOCS}/{file.src_uri}")
    for place, made in site_links.made(wanted).items():
        if isinstance(made, Path):
            files.append(File.generated(config, place, abs_src_path=str(made)))
        else:
            files.append(File.generated(config, place, content=made))
    return files


def places(entries: list[Any]) -> list[str]:
    """The places that a navigation names."""
    found: list[str] = []
    for entry in entries:
        for one in entry.values() if isinstance(entry, dict) else [entry]:
            found += places(one) if isinstance(one, list) else [one]
    return found


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page of docs/ lead where the site has what they name; give the width to those with wide tables.

    A page that is a section by itself has nothing beside it to choose from. A search finds what explains before what lists.
    """
    if page.file.src_uri.startswith(f"{site_reference.FOLDER}/"):
        page.meta["search"] = {"boost": 0.5}
    if page.parent is None or page.file.src_uri in WIDE:
        page.meta["hide"] = ["navigation"]
    if page.file.generated_by is not None:
        return markdown
    return site_links.mapped(markdown, f"{site_links.DOCS}/{page.file.src_uri}", page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write formulas, `$...$` in a line and `$$...$$` between lines, as MathML, which browsers show by themselves."""
    return _FORMULA.sub(lambda found: formula(found["latex"], found["tag"] == "div", page.file.src_uri), html)


def formula(escaped: str, display: bool, where: str) -> str:
    """The MathML of a formula in LaTeX."""
    latex = unescape(escaped).strip()
    try:
        return str(convert(latex, display="block" if display else "inline"))
    except Exception as error:  # of many kinds
        raise PluginError(f"{where}: expected a formula in LaTeX, found {latex!r} ({type(error).__name__})") from error


def on_post_build(config: MkDocsConfig) -> None:
    """Stop where a page would load anything from another machine: the site has to work without a network."""
    if found := site_loads.from_elsewhere(Path(config.site_dir)):
        raise PluginError("expected a site that loads nothing from elsewhere, found:\n" + "\n".join(found))
