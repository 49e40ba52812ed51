"""Notes on the weights that networks were given: collected where networks are made, printed once elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NOTES: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect the notes of all networks made in the block, each distinct note once."""
    notes: list[str] = []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def note(text: str) -> None:
    """Add a note to the enclosing `noted` block; no effect without one."""
    notes = _NOTES.get()
    if notes is not None and text not in notes:
        notes.append(text)
