"""The reference of the site: a page per room with its public names, and of the main rooms every module, from docstrings.

Nothing is imported: names come from the table of public names in the package's own file, text from the sources.
"""

from __future__ import annotations

import ast
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "crossreid"
FOLDER = "reference"
WHOLE = ("losses", "models", "methods", "training", "evaluation")  # rooms whose modules are all shown
TITLES = {"runs": "Runs and recipes", "demo": "The demo", "registry": "Plugins"}


@cache
def public_names() -> dict[str, str]:
    """Each public name by where it is defined: `train` by `crossreid.runs.train.train`."""
    homes: dict[str, str] = next(
        ast.literal_eval(node.value)
        for node in _tree(PACKAGE / "__init__.py").body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOMES"
    )
    split = {name: home.partition(":") for name, home in homes.items()}
    return {name: f"crossreid.{module}.{attribute or name}" for name, (module, _, attribute) in split.items()}


def rooms() -> dict[str, dict[str, str]]:
    """The public names by room, or by the module beside the rooms, in the order of the alphabet."""
    every = sorted({path.split(".")[1] for path in public_names().values()})
    return {room: {name: p for name, p in public_names().items() if p.split(".")[1] == room} for room in every}


def pages() -> dict[str, str]:
    """The pages of the reference by their places in the site's sources, each as Markdown."""
    return {f"{FOLDER}/index.md": _index()} | {f"{FOLDER}/{room}.md": _room(room, of) for room, of in rooms().items()}


def navigation() -> list[Any]:
    """The entries of the reference, as `nav` of mkdocs.yml takes them."""
    return [f"{FOLDER}/index.md", *({_title(room): f"{FOLDER}/{room}.md"} for room in rooms())]


def summary(path: str) -> str:
    """The first paragraph of what is said of a module's function, class or variable, on one line; '' for nothing."""
    module, _, name = path.rpartition(".")
    body = _tree(PACKAGE.parent / f"{module.replace('.', '/')}.py").body
    said = ""
    for node, after in pairwise([*body, ast.Pass()]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            said = ast.get_docstring(node) or said
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name:
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            said = str(after.value.value) if is_text else said
    return said.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _title(room: str) -> str:
    return TITLES.get(room, room.capitalize())


def _index() -> str:
    lines = ["# Reference", "", "The public names; anything else may change from one version to the next.", ""]
    for room, names in rooms().items():
        lines += [f"## {_title(room)}", "", "| `from crossreid import` | what it is |", "|---|---|"]
        lines += [f"| [`{name}`]({room}.md#{path}) | {summary(path)} |" for name, path in names.items()]
        lines.append("")
    return "\n".join(lines)


def _room(room: str, names: dict[str, str]) -> str:
    package = PACKAGE / room / "__init__.py"
    said = ast.get_docstring(_tree(package)) if package.is_file() else None
    lines = [f"# {_title(room)}", "", said or "", ""]
    for name, path in names.items():
        lines += [f"::: {path}", "    options:", f"      heading: crossreid.{name}", f"      toc_label: {name}", ""]
    if room in WHOLE:
        lines += ["## Modules", "", "What is not listed above may change from one version to the next.", ""]
        for file in sorted((PACKAGE / room).glob("[!_]*.py")):
            module = f"crossreid.{room}.{file.stem}"
            above = [path.rpartition(".")[2] for path in names.values() if path.rpartition(".")[0] == module]
            filters = ["!^_", *(f"!^{name}$" for name in above)]
            lines += [f"::: {module}", "    options:", "      heading_level: 3", f"      filters: {filters}", ""]
    return "\n".join(lines)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
