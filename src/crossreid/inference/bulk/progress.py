"""Progress of all processes of a job, as seen by the first: its own images, and the others' finished chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from crossreid.data.addresses import Place, names_in
from crossreid.inference.bulk.folder import chunk_number

LOOK_EVERY = 2.0  # seconds between looks at other processes' chunks: listing a large folder takes time


def shared_progress(
    advance: Callable[..., object] | None, parts: Place, chunks: Sequence[range], seen: Iterable[int], processes: int
) -> Callable[..., None]:
    """Return `report(images, now=False)`, which calls `advance` with this process's and the others' finished images.

    Args:
        advance: None if nobody is watching.
        seen: the numbers of chunks that are already counted or are this process's own.
        processes: how many share the job.
    """
    known, looked = set(seen), time.monotonic()

    def report(images: int, *, now: bool = False) -> None:
        nonlocal looked
        if advance is None:
            return
        others: set[int] = set()
        if processes > 1 and (now or time.monotonic() - looked >= LOOK_EVERY):
            looked = time.monotonic()
            found = {number for name in names_in(parts) if (number := chunk_number(name)) is not None}
            others = found - known
            known.update(others)
        advance(images + sum(len(chunks[number]) for number in others if number < len(chunks)))

    return report
