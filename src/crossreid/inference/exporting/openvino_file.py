"""OpenVINO's two files, NAME.xml and NAME.bin: the digest of both, and the facts in the `rt_info` of the first."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

from crossreid.errors import CrossreidError
from crossreid.inference.exporting.exported_file import KEY, text_of_facts

_ENTRY = re.compile(rf'\s*<{KEY} value="(?P<said>[^"]*)" ?/>'.encode())
_SECTION = b"</rt_info>"
_QUOTE = '"'


def weights_of(path: Path) -> Path:
    """Return the weights file of an .xml."""
    return path.with_suffix(".bin")


def state_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts into the `rt_info` of an .xml, replacing existing ones."""
    graph = _ENTRY.sub(b"", path.read_bytes())
    before, section, after = graph.rpartition(_SECTION)
    if not section:  # a network without one: right before its end
        before, section, after = graph.rpartition(b"</net>")
        before, section = before + b"\t<rt_info>", _SECTION + section
        graph = before + section + after
    said = text_of_facts(facts, _digest(graph, weights_of(path)))
    entry = f'\n\t\t<{KEY} value="{escape(said, {_QUOTE: "&quot;"})}" />'
    last = len(before.rstrip())  # a reader removes the entry again, with the space before it
    path.write_bytes(before[:last] + entry.encode() + before[last:] + section + after)


def read_said(path: Path) -> tuple[str | None, str]:
    """Return the text of an .xml under `crossreid` (None if absent), and the digest of the rest of both files.

    Raises:
        CrossreidError: one of the two files is missing.
    """
    for part in (path, weights_of(path)):
        if not part.is_file():
            raise CrossreidError(f"{part} not found. Expected a file that `crossreid export --to openvino` wrote.")
    content = path.read_bytes()
    found = _ENTRY.findall(content)
    digest = _digest(_ENTRY.sub(b"", content), weights_of(path))
    if len(found) != 1:
        return None, digest
    said = unescape(found[0].decode("utf-8", "replace"), {"&quot;": _QUOTE})
    return said, digest


def _digest(graph: bytes, weights: Path) -> str:
    """Return the hexadecimal SHA-256 of an .xml without the facts, and of its weights."""
    digest = hashlib.sha256(graph)
    with open(weights, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
