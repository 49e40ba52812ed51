"""What the commands write to: results on standard output, progress and errors on standard error.

What is printed are paths, ids and messages: no brackets in them are markup, no colons emoji.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar
from unicodedata import category

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

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


class _Note(ProgressColumn):
    """A few words behind the bar that change from step to step, such as losses."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("note", ""), no_wrap=True, overflow="ellipsis")


def progress_bar(*, shown: bool = True) -> Progress:
    """Bars on standard error: what it is, how many of how many, time so far, time to go, a note. None if not `shown`."""
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), _Note(), console=errors, disable=not shown, refresh_per_second=2,
    )  # fmt: skip


def advancing(progress: Progress, what: str, total: int | None = None, *, completed: int = 0) -> Callable[..., None]:
    """A callable `advance(done, total=None, note="")` that moves a bar on by `done`.

    The bar is drawn from the first call on; where `total` is known already, at once, starting at `completed`.
    """
    tasks: list[TaskID] = []

    def begin(total: int | None) -> None:
        tasks.append(progress.add_task(what, total=total, completed=completed))

    def advance(done: int, total: int | None = None, note: str = "") -> None:
        if not tasks:
            begin(total)
        if total is not None:
            progress.update(tasks[0], total=total)
        progress.update(tasks[0], advance=done, note=note)

    if total is not None:
        begin(total)
    return advance


def tracked(results: Iterable[T], what: str, total: int, *, shown: bool = True) -> Iterator[T]:
    """The `results` one by one, with a bar that counts them."""
    with progress_bar(shown=shown) as progress:
        advance = advancing(progress, what, total)
        for result in results:
            yield result
            advance(1)
