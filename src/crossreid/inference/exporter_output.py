"""What an exporter prints, kept from the user: it goes into a log, which stays where the export fails."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO


@contextmanager
def kept_in_log(log: Path) -> Iterator[None]:
    """Within it all that the process prints, compiled code too, goes to a file, which becomes `log` after an error.

    Without one nothing is left, nor a log of before. The file descriptors of output and error are taken for the time,
    so what other threads print then is in the log too.
    """
    log.unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as kept:
        try:
            with _descriptors_to(kept), redirect_stdout(kept), redirect_stderr(kept):
                yield
        except Exception as error:
            kept.flush()
            kept.seek(0)
            log.write_text(f"{kept.read()}\n{type(error).__name__}: {error}\n", encoding="utf-8")
            raise


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
