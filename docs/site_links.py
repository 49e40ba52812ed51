"""Where links of the site's pages lead, in one place: pages may link to any file of the repository by a relative path.

Pages lie in docs/ and read well there too, so that `../benchmarks/film.py` is the right link. The site has no such file:
it gets a page of its own under `source/`, made of the file, and the link leads to it. Without the site's tools, so that
tests of the package read it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"
SOURCE = "source"
PICTURES = {".jpg", ".png", ".svg"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json", ".sh": "bash"}

_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s#]+)(?P<after>(?:#[^)\s]*)?\))")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", flags=re.I)
_CODE = re.compile(r"^(?P<fence>```|~~~).*?^(?P=fence)[ \t]*$|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.M | re.S)


def target_in_repository(target: str, home: str) -> str | None:
    """The path from the root of the repository that a link in the file `home` leads to; None for an address or an anchor."""
    if not target or _SCHEME.match(target) or target.startswith(("/", "#")):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), target))


def place_on_site(path: str) -> str | None:
    """The place in the site's sources of a file or folder of the repository; None for what is not there.

    A page of docs/ is where it is, a picture outside keeps its name, and anything else is a page made of it: of a folder
    its README, which would be the index of the whole section under its own name.
    """
    if path.startswith("../") or not (ROOT / path).exists():
        return None
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    path = path.removesuffix("/README.md")
    kept = Path(path).suffix in {*PICTURES, ".md"}
    return f"{SOURCE}/{path}" if kept else f"{SOURCE}/{path}.md"


def mapped(markdown: str, home: str, at: str) -> str:
    """Markdown of the repository's file `home` as it reads at the place `at` of the site: its relative links lead on there.

    A link to what is not there stays as it is, for the strict build to name it.
    """

    def lead(found: re.Match[str]) -> str:
        path = target_in_repository(found["target"], home)
        place = None if path is None else place_on_site(path)
        if place is None:
            return found[0]
        return f"{found['before']}{posixpath.relpath(place, posixpath.dirname(at) or '.')}{found['after']}"

    return "".join(part if code else _LINK.sub(lead, part) for part, code in _parts(markdown))


def outside(markdown: str, home: str) -> list[str]:
    """The files and folders outside docs/ that Markdown of the file `home` links to, by their paths from the root."""
    text = "".join(part for part, code in _parts(markdown) if not code)
    paths = [target_in_repository(found["target"], home) for found in _LINK.finditer(text)]
    return sorted({path for path in paths if path and not path.startswith(f"{DOCS}/") and place_on_site(path)})


def sources(places: list[str]) -> list[str]:
    """The files of the repository whose pages are among the places of a site."""
    named = [place.removeprefix(f"{SOURCE}/") for place in places if place.startswith(f"{SOURCE}/")]
    return [path if (ROOT / path).exists() else path.removesuffix(".md") for path in named]


def made(paths: list[str]) -> dict[str, str | Path]:
    """What the site needs of these files and folders, and of those that they lead to, by its place there.

    Markdown for a page, the file itself for a picture.
    """
    found: dict[str, str | Path] = {}
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        place = place_on_site(path)
        if place is None or place in found:
            continue
        if Path(path).suffix in PICTURES:
            found[place] = ROOT / path
            continue
        found[place] = page_of(path)
        text = _with_readme(path)
        if text.endswith(".md"):
            waiting += outside((ROOT / text).read_text(encoding="utf-8"), text)
    return found


def _with_readme(path: str) -> str:
    """The README of a folder that has one; any other path as it is."""
    return f"{path}/README.md" if (ROOT / path / "README.md").is_file() else path


def page_of(path: str) -> str:
    """The Markdown of the page that a file or folder of the repository becomes."""
    path = _with_readme(path)
    file = ROOT / path
    if file.is_dir():
        names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in file.iterdir())
        listed = "\n".join(f"* `{name}`" for name in names if not name.startswith((".", "__")))
        return f"# `{path}/`\n\n{listed}\n"
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return mapped(text, path, str(place_on_site(path)))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`{3,}", text)), default=0))
    return f"# `{path}`\n\n{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _parts(markdown: str) -> Iterator[tuple[str, bool]]:
    """The pieces of Markdown in order, each with whether it is code, whose brackets are no links."""
    last = 0
    for found in _CODE.finditer(markdown):
        yield markdown[last : found.start()], False
        yield found[0], True
        last = found.end()
    yield markdown[last:], False
