"""A cache of decoded and resized images as bytes: on disk for all runs, or in memory for one.

An image is identified by its file's path, size and modification time, by which part is read and how (box, levels,
pseudo-infrared), and by its target size and interpolation. The cache returns exactly what decoding would, bit for bit.
A changed file is decoded again; images whose files have changed or gone are removed whenever a process opens the
folder, whoever added them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader, Dataset

from crossreid.data.cache_files import (
    SUFFIX,
    Pack,
    Row,
    State,
    gigabytes,
    mapped,
    read_pack,
    refuse_too_much,
    state_of,
    take_space,
    write_pack,
)
from crossreid.data.images import load_image
from crossreid.data.loader_processes import begin, raising
from crossreid.data.records import DataError, Record
from crossreid.data.transforms import Interpolation, resized
from crossreid.files import Held, NoSpace, lock, unlock, writing
from crossreid.terminal import errors, tracked

_LOCK = "lock"
_PAUSE = 0.2  # seconds between two checks of a lock held by another


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """Where images are cached, on disk or in this process's memory, and by how many processes.

    `complete`: whether missing images are decoded and added; else only existing ones are used.
    """

    kind: Literal["memory", "disk"]
    folder: Path
    workers: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """The target of resizing: height and width in pixels, and interpolation."""

    height: int
    width: int
    interpolation: Interpolation

    def of(self, record: Record) -> np.ndarray:
        """Return `(height, width, 3)` uint8 of an image's file; raises as `load_image`."""
        pixels = load_image(record, at_least=(self.height, self.width))
        return resized(pixels, self.height, self.width, self.interpolation)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}-{self.interpolation}"


def user_folder() -> Path:
    """Return the default folder of the disk cache: in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossreid" / "images"


class PixelCache:
    """Images of some records, by position; it can be passed to other processes, which map the same memory.

    Attributes:
        places: for each record, where its pixels are: (file, row); without images that cannot be decoded.
        seen: what was to be cached, including images that cannot be decoded.
    """

    def __init__(
        self,
        look: Look,
        files: Sequence[tuple[str, int]],
        places: Mapping[str, tuple[int, int]],
        seen: Iterable[str] = (),
    ) -> None:
        self.look, self.files, self.places, self.seen = look, tuple(files), dict(places), frozenset(seen)
        self._maps: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def places_of(self, records: Sequence[Record]) -> list[tuple[int, int] | None]:
        """Return where the pixels of each record are; None if it has to be decoded."""
        return [self.places.get(what_of(record)) for record in records]

    def at(self, place: tuple[int, int] | None) -> np.ndarray | None:
        """Return `(height, width, 3)` uint8 of an image, read-only; None if it has to be decoded."""
        if place is None:
            return None
        if self._maps is None:
            try:
                self._maps = [mapped(path, count, self.look.height, self.look.width) for path, count in self.files]
            except OSError:  # another process replaced a file before this one mapped it
                self.places, self._maps = {}, []
        return np.asarray(self._maps[place[0]][place[1]]) if self._maps else None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": None}


_IN_MEMORY: weakref.WeakSet[PixelCache] = weakref.WeakSet()  # caches of this process that are in use


def what_of(record: Record) -> str:
    """Return a name for a record's picture and how it is read."""
    parts = (str(record.path.absolute()), record.box, record.levels, record.pseudo_infrared)  # type: ignore[union-attr]
    return "\0".join(map(str, parts))


def cache_of(
    records: Iterable[Record], choice: CacheChoice | None, look: Look, *, shown: bool = False
) -> PixelCache | None:
    """Return the cache of these records' images, created or completed first; None if nothing is to be cached.

    Objects in a store are not cached.

    Args:
        shown: whether to show a progress bar.

    Raises:
        NoSpace: the disk has no space for the images.
        CrossreidError: memory has no space for them.
        CannotBeRead: the system cannot read a file.
    """
    if choice is None:
        return None
    wanted = {what_of(record): record for record in records if isinstance(record.path, Path)}
    if not wanted:  # a data set without validation images, or in a store: an empty file cannot be mapped
        return None
    if choice.kind == "memory":
        return _in_memory(wanted, choice, look, shown) if choice.complete else _live(wanted, look)
    folder = choice.folder / str(look)
    if not choice.complete or _is_kept_from_us(folder):
        return _on_disk(wanted, [pack for pack in map(read_pack, _files(folder)) if pack], look, check=True)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _on_disk(wanted, _completed(wanted, folder, choice, look, shown), look)


def _is_kept_from_us(folder: Path) -> bool:
    """Return whether a folder exists and is read-only for us: somebody else fills it for others."""
    return folder.is_dir() and os.access(folder, os.R_OK) and not os.access(folder, os.W_OK)


def _on_disk(wanted: Mapping[str, Record], packs: Sequence[Pack], look: Look, *, check: bool = False) -> PixelCache:
    places = {
        row.what: (number, place)
        for number, pack in enumerate(packs)
        for place, row in enumerate(pack.rows)
        if row.what in wanted and row.readable and (not check or state_of(row.path) == row.state)
    }
    cache = PixelCache(look, [(str(pack.path), len(pack.rows)) for pack in packs], places)
    if cache.places:
        cache.at(next(iter(places.values())))  # mapped while it exists: another process may replace the file
    return cache


def _completed(wanted: Mapping[str, Record], folder: Path, choice: CacheChoice, look: Look, shown: bool) -> list[Pack]:
    """Add missing images to a folder, remove those of changed files, and return its files. Its lock is held."""
    for left in folder.glob(f".*.tmp{SUFFIX}"):  # of killed processes: only the lock's holder writes here
        left.unlink(missing_ok=True)
    fresh: list[Pack] = []
    stale: list[tuple[Pack, list[int]]] = []  # with the rows that are still valid
    for path in _files(folder):
        pack = read_pack(path)
        if pack is None:
            path.unlink(missing_ok=True)
            continue
        same = [place for place, row in enumerate(pack.rows) if state_of(row.path) == row.state]
        if len(same) == len(pack.rows):
            fresh.append(pack)
        else:
            stale.append((pack, same))
    known = {row.what for pack in fresh for row in pack.rows}
    known |= {pack.rows[place].what for pack, same in stale for place in same}
    missing = {what: record for what, record in wanted.items() if what not in known}
    kept = [(pack, place) for pack, same in stale for place in same]
    if missing or kept:
        fresh.append(_added(missing, kept, folder, choice, look, shown))
    for pack, _ in stale:
        pack.path.unlink(missing_ok=True)
    return fresh


def _added(
    missing: Mapping[str, Record], kept: Sequence[tuple[Pack, int]], folder: Path, choice: CacheChoice, look: Look,
    shown: bool,
) -> Pack:  # fmt: skip
    """Write a new file with newly decoded images and those of other files."""
    count = len(missing) + len(kept)
    states = {what: state_of(str(record.path)) for what, record in missing.items()}  # taken before reading
    digest = hashlib.sha256(repr((sorted(states.items()), [pack.rows[place] for pack, place in kept])).encode())
    path = folder / f"{digest.hexdigest()[:16]}{SUFFIX}"
    size = count * look.height * look.width * 3
    errors.print(
        f"cache: {count:,} images of {look.height} x {look.width} take {gigabytes(count, look.height, look.width)} in {folder}",
        soft_wrap=True,
    )
    if (free := shutil.disk_usage(folder).free) < size:
        raise NoSpace(
            f"{folder} has {free / 1e9:.1f} GB left, but the cache takes {gigabytes(count, look.height, look.width)}. Free "
            "some space, name another data.cache_folder, or leave data.cache at none."
        )

    def fill(temporary: Path) -> list[Row]:
        rows = _decoded(missing, states, temporary, count, choice.workers, look, shown)
        if kept:
            pixels = mapped(temporary, count, look.height, look.width, writable=True)
            maps: dict[Path, np.ndarray] = {}
            for number, (pack, place) in enumerate(kept, start=len(rows)):
                if pack.path not in maps:
                    maps[pack.path] = pack.pixels()
                pixels[number] = maps[pack.path][place]
                rows.append(pack.rows[place])
        return rows

    return write_pack(path, count, look.height, look.width, fill)


def _decoded(
    records: Mapping[str, Record], states: Mapping[str, State], path: Path | str, count: int, workers: int, look: Look,
    shown: bool,
) -> list[Row]:  # fmt: skip
    """Write the pixels of a file's first rows with several processes, and return the rows."""
    filling = _Filling(tuple(records.values()), str(path), count, look)
    loader: DataLoader = DataLoader(filling, batch_size=32, num_workers=workers, collate_fn=list, worker_init_fn=begin)
    readable = list(tracked(_flat(raising(loader)), "cache", len(records), shown=shown))
    return [
        Row(what, str(record.path.absolute()), states[what], done)  # type: ignore[union-attr]
        for (what, record), done in zip(records.items(), readable, strict=True)
    ]


class _Filling(Dataset):
    """Writes the image of each index into a file, and returns whether it can be decoded."""

    def __init__(self, records: Sequence[Record], path: str, count: int, look: Look) -> None:
        self.records, self.path, self.count, self.look = records, path, count, look
        self._pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int) -> bool:
        if self._pixels is None:
            self._pixels = mapped(self.path, self.count, self.look.height, self.look.width, writable=True)
        try:
            self._pixels[position] = self.look.of(self.records[position])
        except DataError:
            return False
        return True


def _in_memory(wanted: Mapping[str, Record], choice: CacheChoice, look: Look, shown: bool) -> PixelCache:
    live = _live(wanted, look)
    if live is not None and wanted.keys() <= live.seen:
        return live
    count = len(wanted)
    refuse_too_much(count, look.height, look.width)
    errors.print(
        f"cache: {count:,} images of {look.height} x {look.width} take {gigabytes(count, look.height, look.width)} of memory",
        soft_wrap=True,
    )
    descriptor = os.memfd_create("crossreid-cache")
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        with writing(Path(path)):
            take_space(path, count * look.height * look.width * 3)
        rows = _decoded(
            wanted,
            {what: state_of(str(wanted[what].path)) for what in wanted},
            path,
            count,
            choice.workers,
            look,
            shown,
        )
    except BaseException:
        os.close(descriptor)
        raise
    places = {row.what: (0, place) for place, row in enumerate(rows) if row.readable}
    cache = PixelCache(look, [(path, count)], places, wanted)
    weakref.finalize(cache, os.close, descriptor)
    _IN_MEMORY.add(cache)
    return cache


def _live(wanted: Mapping[str, Record], look: Look) -> PixelCache | None:
    """Return a cache in use in this process that has any of these images."""
    for cache in _IN_MEMORY:
        if cache.look == look and any(what in cache.places for what in wanted):
            return cache
    return None


def _files(folder: Path) -> list[Path]:
    found = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.startswith("."))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; if another process has it, wait for it, and say so once."""
    told = False
    while True:
        try:
            with writing(folder / _LOCK):
                held = lock(folder / _LOCK)
            break
        except Held as holder:
            if not told:
                errors.print(f"cache: waiting for {holder}, which is using {folder}", soft_wrap=True)
                told = True
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        unlock(held)


def _flat(batches: Iterable[Sequence[bool]]) -> Iterator[bool]:
    for batch in batches:
        yield from batch
