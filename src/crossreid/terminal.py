"""Output of the commands: results on standard output, progress and errors on standard error.

Markup and emoji are off: paths, ids and messages may contain brackets and colons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, TypeVar
from unicodedata import category

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
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
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

console = Console(markup=False, emoji=False, highlight=False)
errors = Console(stderr=True, markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    """Return text as one line that is safe on a terminal: line ends, control characters and broken bytes are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or category(c) == "Zs" else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Print a line as it is, whatever its length."""
    console.print(printable(text), soft_wrap=True)


class _Note(ProgressColumn):
    """A few words after the bar that change from step to step, such as losses."""

    def render(self, task: Task) -> _WholeFigures:
        return _WholeFigures(task.fields.get("note", ""))


class _WholeFigures:
    """As many names and figures as fit in a line; none is truncated."""

    def __init__(self, note: str) -> None:
        self.words = note.split(" ")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(0, len(" ".join(self.words)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        words = self.words
        while words and len(" ".join(words)) > options.max_width:
            words = words[: (len(words) - 1) // 2 * 2]  # a name stays with its figure
        yield Text(" ".join(words), no_wrap=True)


def progress_bar(*, shown: bool = True) -> Progress:
    """Return bars on standard error: description, count and total, elapsed and remaining time, a note. Hidden if not `shown`."""
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), _Note(), console=errors, disable=not shown, refresh_per_second=2,
    )  # fmt: skip


def advancing(progress: Progress, what: str, total: int | None = None, *, completed: int = 0) -> Callable[..., None]:
    """Return a callable `advance(done, total=None, note="")` that advances a bar by `done`.

    The bar is drawn at the first call or, if `total` is already known, at once, starting at `completed`.
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
    """Yield the `results` one by one, with a bar that counts them."""
    with progress_bar(shown=shown) as progress:
        advance = advancing(progress, what, total)
        for result in results:
            yield result
            advance(1)


class FigureTable:
    """A table of figures for any width that never truncates a figure.

    Names in the first columns wrap; headings break between words; columns that do not fit go into a further table
    below, with the names repeated. `names` is the number of columns that hold names.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        *,
        names: int = 1,
        caption: str = "",
        justify: Literal["left", "center"] = "left",
    ) -> None:
        self.title, self.columns, self.names, self.caption, self.justify = title, list(columns), names, caption, justify
        self.rows: list[tuple[list[str], str | None]] = []
        self.ends: set[int] = set()

    def add_row(self, *cells: str, style: str | None = None) -> None:
        """Add a row, one cell per column."""
        self.rows.append(([*cells], style))

    def add_section(self) -> None:
        """End a group of rows."""
        self.ends.add(len(self.rows) - 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        starts = [self.names]
        for column in range(self.names + 1, len(self.columns)):
            if self._width([starts[-1], column + 1], console, options) > options.max_width:
                starts.append(column)
        for number, (start, stop) in enumerate(pairwise([*starts, len(self.columns)])):
            yield self._part([start, stop], options, self.title if number == 0 else None)
        if self.caption:
            yield Text(self.caption, style="italic")

    def _width(self, span: Sequence[int], console: Console, options: ConsoleOptions) -> int:
        wide = options.update(max_width=10_000)
        return self._part(span, options, None).__rich_measure__(console, wide).maximum

    def _part(self, span: Sequence[int], options: ConsoleOptions, title: str | None) -> Table:
        """Return the table of the figure columns `span[0]` to `span[1] - 1`."""
        view = Table(title=title, title_justify=self.justify, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        shown = [*range(self.names), *range(*span)]
        for column in shown:
            heading = self.columns[column]
            cells = [line for row, _ in self.rows for line in row[column].split("\n")]
            figure, needed = column >= self.names, [*cells, *heading.split()]
            width = max([1, *(len(text) for text in needed)])
            if not figure:  # a third of the line for all names together, which wrap
                width = min(max(width, 1), max(12, options.max_width // (3 * max(1, self.names))))
            view.add_column(
                heading, justify="right" if figure else "left", width=min(width, options.max_width - 2), overflow="fold"
            )
        for number, (row, style) in enumerate(self.rows):
            view.add_row(*(row[column] for column in shown), style=style, end_section=number in self.ends)
        return view
