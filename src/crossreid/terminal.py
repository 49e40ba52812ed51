"""What the commands write to: results on standard output, progress and errors on standard error.

What is printed are paths, ids and messages: no brackets in them are markup, no colons emoji.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unicodedata import category

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(markup=False, emoji=False, highlight=False)
errors = Console(stderr=True, markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    """Text in one line that a terminal does not act upon: line ends, control characters and broken bytes as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or category(c) == "Zs" else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Print a line as it is, however long."""
    console.print(printable(text), soft_wrap=True)


def progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=errors
    )


def advancing(progress: Progress, what: str) -> Callable[..., None]:
    """A callable `advance(done, total=None)` that draws a bar from its first call on."""
    tasks: list[Any] = []

    def advance(done: int, total: int | None = None) -> None:
        if not tasks:
            tasks.append(progress.add_task(what, total=total))
        if total is not None:
            progress.update(tasks[0], total=total)
        progress.advance(tasks[0], done)

    return advance
