"""What the commands write to: results on standard output, progress and errors on standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console()
errors = Console(stderr=True)


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
