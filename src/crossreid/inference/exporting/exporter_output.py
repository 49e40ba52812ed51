"""An exporter's output, redirected to a log instead of the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO


class Kept:
    """The output: after the block, the file that holds it, or None if nothing was printed."""

    def __init__(self) -> None:
        self.log: Path | None = None


@contextmanager
def kept_in_log(log: Path) -> Iterator[Kept]:
    """Redirect everything the process prints within the block, compiled code included, to `log`; an error is appended.

    Without output or an error no log is left, not even an earlier one. The file descriptors of standard output and
    error are redirected, so what other threads print meanwhile is in the log too.
    """
    log.unlink(missing_ok=True)
    result = Kept()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as kept:

        def write(more: str = "") -> None:
            kept.flush()
            kept.seek(0)
            text = kept.read() + more
            if text.strip():
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text(text, encoding="utf-8")
                result.log = log

        try:
            with _descriptors_to(kept), redirect_stdout(kept), redirect_stderr(kept):
                yield result
        except Exception as error:
            write(f"\n{type(error).__name__}: {error}\n")
            raise
        write()


@contextmanager
def _descriptors_to(kept: IO[str]) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    before = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in before:
            os.dup2(kept.fileno(), number)
        yield
    finally:
        for number, copy in before.items():
            os.dup2(copy, number)
            os.close(copy)
