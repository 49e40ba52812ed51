"""Embeddings from any tool: a file of queries and a file of gallery entries, in one of four formats.

* `.npz` with the arrays `embeddings (N, D)` and `identities (N,)`, and, if known, `cameras`, `modalities`, `frames`,
  `names`, `roles`, `tracklets`; a run's features.npz is one of these;
* `.npy` of the embeddings, with a `.csv` of the same name beside it: one row per embedding, columns `identity` and, if
  known, `camera`, `modality`, `frame`, `name`;
* `.safetensors` with the same names as in the `.npz`; identities that are text are a JSON list in its metadata;
* a folder that `crossreid embed` wrote.

Identities are text or whole numbers, cameras and frames whole numbers, modalities `visible` / `infrared` or 0 / 1.
Other array names are accepted as in `crossreid.evaluation.array_names`. A camera is unknown if there is no array, the
cell is empty, or the number is negative; 0 also means unknown, but only in files that this project wrote.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from crossreid.data.records import DataError
from crossreid.evaluation.array_names import ARRAYS, listed, own_name, resolve
from crossreid.evaluation.features import ROLES
from crossreid.evaluation.host_distances import finite_rows

UNKNOWN = -1  # for a camera, here; for a frame, everywhere
_NEEDED = ("embeddings", "identities", "cameras")
_EMPTY = ("", "nan", "none")
_OWN_ALONE = {"embeddings", "identities", "cameras", "modalities", "positions", "names", "roles"}
MODALITIES = {"visible": 0, "infrared": 1, "0": 0, "1": 1}


@dataclass(frozen=True, eq=False)
class Side:
    """Queries or gallery: embeddings `(N, D)`, identities `(N,)` str, and the other arrays, `(N,)` or None.

    cameras and frames are int64, -1 if unknown; names, roles and tracklets text; boxes as in `Embeddings`, only from
    folders of `crossreid embed`. `own`: this project wrote the file. `notes` are lines on how names were interpreted.
    """

    source: Path
    embeddings: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray | None
    modalities: np.ndarray | None
    frames: np.ndarray | None
    names: np.ndarray | None = None
    roles: np.ndarray | None = None
    tracklets: np.ndarray | None = None
    own: bool = False
    notes: tuple[str, ...] = ()
    boxes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True)
class _Given:
    """A file's arrays by this project's names, the names in the file, and notes on them."""

    arrays: dict[str, Any]
    found: tuple[str, ...]
    notes: list[str] = field(default_factory=list)


def read_side(path: Path) -> Side:
    """Read one file, or a folder that `crossreid embed` wrote.

    Raises:
        DataError: one line naming the file, what was expected and what was found.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if path.suffix not in READERS:
        raise DataError(
            f"{path}: expected a file ending in {', '.join(READERS)}, or a folder that `crossreid embed` wrote."
        )
    if not path.is_file():
        raise DataError(f"{path} not found.")
    try:
        read = READERS[path.suffix](path)
    except DataError:
        raise
    except (ValueError, OSError, EOFError, KeyError, SafetensorError) as error:
        hint = " (text must have a fixed width, not be objects)" if "pickle" in str(error) else ""
        raise DataError(f"{path} cannot be read: {error}{hint}.") from error
    except Exception as error:  # zipfile and zlib raise their own exception classes
        raise DataError(f"{path} is damaged: {error}.") from error
    given = read.arrays
    for name in _useless(read, path):
        del given[name]
    for name in ("embeddings", "identities"):
        if name not in given:
            raise DataError(f"{path}: expected {name}; found {listed(read.found)}.")
    try:
        embeddings = finite_rows(np.asarray(given["embeddings"]), f"{path}: embeddings")
    except TypeError as error:
        raise DataError(f"{path}: embeddings are not numbers ({error}).") from error
    except ValueError as error:
        raise DataError(str(error)) from error
    for name, values in given.items():
        if name != "embeddings" and np.shape(values) != (len(embeddings),):
            raise DataError(
                f"{path}: expected one {name} value per embedding ({len(embeddings)}), found shape {np.shape(values)}."
            )
    own = set(read.found) >= _OWN_ALONE
    cameras = _whole(path, "cameras", given.get("cameras"))
    return Side(
        path,
        embeddings,
        _identities(path, given["identities"]),
        np.where(cameras == 0, UNKNOWN, cameras) if own and cameras is not None else cameras,
        _modalities(path, given.get("modalities")),
        _whole(path, "frames", given.get("frames")),
        _text(given.get("names")),
        _roles(path, given.get("roles")),
        _text(given.get("tracklets")),
        own,
        tuple(read.notes),
    )


def _read_folder(path: Path) -> Side:
    from crossreid.evaluation.embedding_files import read_embeddings

    found = read_embeddings(path)
    nameless = [row for row, identity in enumerate(found.identities) if identity is None]
    if nameless:
        raise DataError(
            f"{path}: {len(nameless)} of {len(found)} images have no identity, for example {found.paths[nameless[0]]}; scoring "
            "needs the identity of every image. Embed a manifest (.csv) with a column identity, or a data set."
        )
    return Side(
        path,
        found.embeddings,
        found.identities.astype(np.str_),
        np.where(found.cameras == 0, UNKNOWN, found.cameras),
        found.modalities,
        found.frames,
        found.paths,
        own=True,
        boxes=found.boxes,
    )


def _chosen(found: Iterable[str], path: Path, value: Callable[[str], Any], *, columns: bool = False) -> _Given:
    found = tuple(found)
    chosen, notes = resolve(found, path, columns=columns)
    arrays = {}
    for array in (name for name in ARRAYS if name in chosen):
        try:
            arrays[array] = value(chosen[array])
        except ValueError:  # objects, which would need unpickling
            if array in _NEEDED or chosen[array] == own_name(array, columns):
                raise
            notes.append(f"{path}: not used: {chosen[array]}, an array of objects.")
    return _Given(arrays, found, notes)


def _useless(read: _Given, path: Path) -> list[str]:
    """Return optional arrays that were only guessed by name and have the wrong shape."""
    rows = np.shape(read.arrays.get("embeddings", ()))[:1]
    found = [
        name
        for name, values in read.arrays.items()
        if name not in (*_NEEDED, *read.found) and ARRAYS[name][0] not in read.found and np.shape(values) != rows
    ]
    read.notes.extend(
        f"{path}: {name} is not used, because its shape is {np.shape(read.arrays[name])}." for name in found
    )
    return found


def _read_npz(path: Path) -> _Given:
    with np.load(path, allow_pickle=False) as archive:
        return _chosen(archive.files, path, lambda name: archive[name])


def _read_npy(path: Path) -> _Given:
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise DataError(f"{table} not found; {path.name} needs it in the same folder, with a column identity.")
    embeddings = np.load(path, allow_pickle=False)
    with open(table, newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if rows and any(None in row or None in row.values() for row in rows):
        raise DataError(f"{table}: rows have different numbers of columns.")
    columns = list(rows[0]) if rows else []
    read = _chosen(columns, table, lambda name: np.array([row[name] for row in rows]), columns=True)
    if rows and "identities" not in read.arrays:
        raise DataError(f"{table}: expected a column {own_name('identities', True)}; found {listed(columns)}.")
    if len(rows) != len(embeddings):
        raise DataError(f"{table} has {len(rows)} rows for {len(embeddings)} embeddings in {path.name}.")
    return _Given({"embeddings": embeddings, **read.arrays}, ("embeddings", *columns), read.notes)


def _read_safetensors(path: Path) -> _Given:
    with safe_open(path, framework="pt") as stored:
        names = list(stored.keys())
        metadata = stored.metadata() or {}
        texts = {
            name: json.loads(text) for name, text in metadata.items() if name == "identities" and name not in names
        }

        def value(name: str) -> Any:
            if name in texts:
                return np.array([str(one) for one in texts[name]])
            tensor = stored.get_tensor(name)
            return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

        return _chosen([*names, *texts], path, value)


READERS: dict[str, Callable[[Path], _Given]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
}


def _whole(path: Path, name: str, values: Any) -> np.ndarray | None:
    """Return whole numbers, -1 (unknown) for negative ones, non-numbers and empty cells."""
    if values is None:
        return None
    given = np.asarray(values)
    empty, filled = np.zeros(given.shape, dtype=bool), given
    if given.dtype.kind == "f":
        empty = np.isnan(given)
        filled = np.where(empty, UNKNOWN, given)
    elif given.dtype.kind in "US":
        given = given.astype(np.str_)
        empty = np.isin(np.char.lower(np.char.strip(given)), _EMPTY)
        filled = np.where(empty, str(UNKNOWN), given)
    try:
        numbers = (
            filled.astype(np.float64) if filled.dtype.kind in "US" else filled
        )  # tables write 1.0 beside empty cells
        whole = numbers.astype(np.int64)
    except ValueError:
        whole = None
    if whole is None or not np.array_equal(whole, numbers):
        shown = given.ravel()[~empty.ravel()][:1].tolist()
        raise DataError(f"{path}: expected {name} as whole numbers, found {shown} ({given.dtype}). Number them.")
    return np.where(whole < 0, UNKNOWN, whole)


def _identities(path: Path, values: Any) -> np.ndarray:
    """Return identities as text; whole numbers in floating point become integers, so that 7.0 matches 7 on the other
    side.
    """
    given = np.asarray(values)
    if given.dtype.kind == "f":
        wrong = ~np.isfinite(given) | (given != np.floor(given))
        if wrong.any():
            raise DataError(
                f"{path}: expected identities as text or whole numbers, found {given[wrong][0]}. Write -1 for junk if the protocol "
                "has it, and leave unknown people out."
            )
        given = given.astype(np.int64)
    return given.astype(np.str_)


def _text(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values).astype(np.str_)


def _roles(path: Path, values: Any) -> np.ndarray | None:
    roles = _text(values)
    if roles is not None and (wrong := ~np.isin(roles, ROLES)).any():
        raise DataError(f"{path}: expected the roles {', '.join(ROLES)}, found {roles[wrong][0]!r}.")
    return roles


def _modalities(path: Path, values: Any) -> np.ndarray | None:
    if values is None:
        return None
    given = [str(value).strip().lower() for value in np.asarray(values).tolist()]
    wrong = next((value for value in given if value not in MODALITIES), None)
    if wrong is not None:
        raise DataError(f"{path}: expected modalities visible / infrared or 0 / 1, found {wrong!r}.")
    return np.array([MODALITIES[value] for value in given], dtype=np.int64)
