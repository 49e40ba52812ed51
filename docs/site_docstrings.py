"""Habits of this project's docstrings that the reference has to know.

Arguments that share a description are named together, `a, b: logits`: each gets an entry. Keys of options say what they
mean in `Field(description=...)`: that is the text of the attribute.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

_TOGETHER = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+):(?P<text> .*(?:\n(?P=indent) +.*)*)", flags=re.M)
_ARGUMENTS = re.compile(r"^(?P<indent> *)Args:\n(?:(?P=indent) +.*\n?|\n)*", flags=re.M)


def apart(docstring: str) -> str:
    """A docstring whose section of arguments has an entry for each; of those named together all have the same text."""

    def each(found: re.Match[str]) -> str:
        return "\n".join(f"{found['indent']}{name}:{found['text']}" for name in found["names"].split(", "))

    return _ARGUMENTS.sub(lambda section: _TOGETHER.sub(each, section[0]), docstring)


def description(value: ast.expr | None) -> str | None:
    """What `Field(...)` says of a key; None for any other value."""
    if not isinstance(value, ast.Call) or getattr(value.func, "id", "") != "Field":
        return None
    texts = [given.value for given in value.keywords if given.arg == "description"]
    return str(ast.literal_eval(texts[0])) if texts and isinstance(texts[0], ast.Constant) else None


class Habits(griffe.Extension):
    """Applies both as soon as an object is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = apart(obj.docstring.value)

    def on_attribute_instance(self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **_: Any) -> None:
        said = description(node.value) if isinstance(node, ast.AnnAssign) else None
        if said is not None and attr.docstring is None:
            attr.docstring = griffe.Docstring(said, parent=attr)
            attr.value = None  # the default and its bounds stand on the page of recipes
