"""What pages of the built site load by themselves, and whether it lies on the site; links that a reader follows may lead anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
IN_STYLES = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class _Page(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.without_text: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.loads += [given[name] for name in LOADS.get(tag, ()) if given.get(name)]
        if tag == "link" and RELATIONS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        if tag == "img" and not given.get("alt", "").strip():
            self.without_text.append(given.get("src", ""))
        self.loads += _in_styles(given.get("style", ""))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self.loads += _in_styles(data)


def _in_styles(text: str) -> list[str]:
    return [one or other for one, other in IN_STYLES.findall(text)]


def loads_of(file: Path) -> list[str]:
    """What a page or a style sheet loads, as it is written there."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".css":
        return _in_styles(text)
    page = _Page()
    page.feed(text)
    return page.loads


def is_elsewhere(address: str) -> bool:
    """Whether an address is on another machine."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ftp")


def _files(site: Path) -> list[Path]:
    return sorted(file for suffix in ("html", "css") for file in site.rglob(f"*.{suffix}"))


def from_elsewhere(site: Path) -> list[str]:
    """A line for each thing that a page or style sheet below `site` loads from another machine."""
    return [f"{file.relative_to(site)}: {one}" for file in _files(site) for one in loads_of(file) if is_elsewhere(one)]


def missing(site: Path) -> list[str]:
    """A line for each thing that a page or style sheet loads from the site and that is not there."""
    lines = []
    for file in _files(site):
        for one in loads_of(file):
            path = unquote(urlsplit(one).path)
            if is_elsewhere(one) or one.startswith("data:") or not path:
                continue
            whole = site / path.lstrip("/") if path.startswith("/") else file.parent / path
            if not whole.exists():
                lines.append(f"{file.relative_to(site)}: {one}")
    return lines


def pictures_without_text(site: Path) -> list[str]:
    """A line for each picture that says nothing to those who cannot see it."""
    lines = []
    for file in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(file.read_text(encoding="utf-8"))
        lines += [f"{file.relative_to(site)}: {one}" for one in page.without_text]
    return lines
