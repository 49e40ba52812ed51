"""Embeddings from any other tool: a file of queries and a file of gallery entries, in one of three arrangements.

* `.npz` with the arrays `embeddings (N, D)` and `identities (N,)`, and where known `cameras`, `modalities`, `frames`;
* `.npy` of the embeddings, with a `.csv` of the same name beside it: a row an embedding, columns `identity` and, where
  known, `camera`, `modality`, `frame`;
* `.safetensors` with tensors of the names of the `.npz`; identities that are text are a JSON list in its metadata.

Identities are text or whole numbers, cameras and frames whole numbers, modalities `visible` / `infrared` or 0 / 1.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from crossreid.data.records import DataError, Modality
from crossreid.evaluation.distances import as_embeddings
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.protocols import PROTOCOLS

MODALITIES = {"visible": 0, "infrared": 1, "0": 0, "1": 1}


@dataclass(frozen=True, eq=False)
class Side:
    """Queries or gallery: embeddings `(N, D)`, identities `(N,)` str, and cameras, modalities, frames `(N,)` or None."""

    source: Path
    embeddings: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray | None
    modalities: np.ndarray | None
    frames: np.ndarray | None


def read_side(path: Path) -> Side:
    """Read one file.

    Raises:
        DataError: a line that names the file, what was expected and what was found.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise DataError(f"{path}: expected a file that ends in {', '.join(READERS)}.")
    if not path.is_file():
        raise DataError(f"{path} not found.")
    try:
        given = READERS[path.suffix](path)
    except DataError:
        raise
    except (ValueError, OSError, EOFError, KeyError, SafetensorError) as error:
        hint = " (text must be of a fixed width, not of objects)" if "pickle" in str(error) else ""
        raise DataError(f"{path} cannot be read: {error}{hint}.") from error
    except Exception as error:  # zipfile and zlib raise classes of their own
        raise DataError(f"{path} is damaged: {error}.") from error
    for name in ("embeddings", "identities"):
        if name not in given:
            raise DataError(f"{path}: expected {name}; found {', '.join(sorted(given)) or 'nothing'}.")
    try:
        embeddings = as_embeddings(np.asarray(given["embeddings"]), f"{path}: embeddings").numpy()
    except TypeError as error:
        raise DataError(f"{path}: embeddings are no numbers ({error}).") from error
    except ValueError as error:
        raise DataError(str(error)) from error
    for name, values in given.items():
        if name != "embeddings" and np.shape(values) != (len(embeddings),):
            raise DataError(
                f"{path}: expected one of {name} for each of {len(embeddings)} embeddings, found shape {np.shape(values)}."
            )
    return Side(
        path,
        embeddings,
        np.asarray(given["identities"]).astype(np.str_),
        _whole(path, "cameras", given.get("cameras")),
        _modalities(path, given.get("modalities")),
        _whole(path, "frames", given.get("frames")),
    )


def join(query: Side, gallery: Side, protocol: str) -> Features:
    """Features of both sides, queries first, each side in its file's order, by which ties are broken.

    Where modalities are not given, the sides are of those that the protocol's first setting names, or visible.

    Raises:
        DataError: dimensions differ, or the protocol needs what neither file holds.
    """
    if protocol not in PROTOCOLS:
        raise DataError(f"unknown protocol '{protocol}'; choose one of: {', '.join(PROTOCOLS)}.")
    plan = PROTOCOLS[protocol]
    dimensions = query.embeddings.shape[1], gallery.embeddings.shape[1]
    if dimensions[0] != dimensions[1]:
        raise DataError(
            f"{query.source} has {dimensions[0]} dimensions and {gallery.source} {dimensions[1]}; embed both with one model."
        )
    sides = (query, gallery)
    needs_cameras = (
        plan.exclusion.places
        or plan.exclusion.camera
        or any(s.query_cameras or s.several_cameras is not None for s in plan.settings)
    )
    for side in sides:
        if side.cameras is None and needs_cameras:
            raise DataError(f"{side.source}: {protocol} needs cameras, which the file does not hold.")
        if side.frames is None and plan.exclusion.frames is not None:
            raise DataError(f"{side.source}: {protocol} needs frames, which the file does not hold.")
    first = plan.settings[0]
    assumed = (first.query or Modality.VISIBLE, first.gallery or Modality.VISIBLE)

    def together(name: str, missing: tuple[int, int]) -> np.ndarray:
        parts = [
            np.full(len(side.embeddings), other) if getattr(side, name) is None else getattr(side, name)
            for side, other in zip(sides, missing, strict=True)
        ]
        return np.concatenate(parts)

    identities = np.concatenate([side.identities for side in sides])
    cameras = together("cameras", (0, 0))
    lengths = [len(side.embeddings) for side in sides]
    return Features(
        embeddings=np.concatenate([side.embeddings for side in sides]),
        identities=identities,
        cameras=cameras,
        modalities=together("modalities", (int(assumed[0]), int(assumed[1]))),
        positions=positions_of(list(zip(identities.tolist(), cameras.tolist(), strict=True))),
        names=np.full(sum(lengths), "", dtype=np.str_),
        roles=np.repeat(["query", "gallery"], lengths),
        frames=together("frames", (-1, -1)),
    )


def _read_npz(path: Path) -> dict[str, Any]:
    known = ("embeddings", "identities", "cameras", "modalities", "frames")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in known if name in archive}


def _read_npy(path: Path) -> dict[str, Any]:
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise DataError(f"{table} not found; {path.name} needs it beside it, with a column identity.")
    embeddings = np.load(path, allow_pickle=False)
    with open(table, newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
        columns = {"identity": "identities", "camera": "cameras", "modality": "modalities", "frame": "frames"}
    if rows and any(None in row or None in row.values() for row in rows):
        raise DataError(f"{table}: rows have different numbers of columns.")
    given = {plural: np.array([row[one] for row in rows]) for one, plural in columns.items() if rows and one in rows[0]}
    if rows and "identities" not in given:
        raise DataError(f"{table}: expected a column identity; found {', '.join(rows[0])}.")
    if len(rows) != len(embeddings):
        raise DataError(f"{table} has {len(rows)} rows for {len(embeddings)} embeddings in {path.name}.")
    return {"embeddings": embeddings, **given}


def _read_safetensors(path: Path) -> dict[str, Any]:
    known = ("embeddings", "identities", "cameras", "modalities", "frames")
    with safe_open(path, framework="pt") as stored:
        names = set(stored.keys())
        given: dict[str, Any] = {name: stored.get_tensor(name) for name in known if name in names}
        metadata = stored.metadata() or {}
    arrays = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).numpy() for name, tensor in given.items()
    }
    if "identities" in metadata and "identities" not in arrays:
        arrays["identities"] = np.array([str(name) for name in json.loads(metadata["identities"])])
    return arrays


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
}


def _whole(path: Path, name: str, values: Any) -> np.ndarray | None:
    if values is None:
        return None
    given = np.asarray(values)
    try:
        whole = given.astype(np.int64)
    except ValueError:
        whole = None
    if whole is None or (given.dtype.kind == "f" and not np.array_equal(whole, given)):
        raise DataError(
            f"{path}: expected {name} as whole numbers, found {given.ravel()[:1].tolist()} ({given.dtype})."
        )
    return whole


def _modalities(path: Path, values: Any) -> np.ndarray | None:
    if values is None:
        return None
    given = [str(value).strip().lower() for value in np.asarray(values).tolist()]
    wrong = next((value for value in given if value not in MODALITIES), None)
    if wrong is not None:
        raise DataError(f"{path}: expected modalities of visible / infrared or 0 / 1, found {wrong!r}.")
    return np.array([MODALITIES[value] for value in given], dtype=np.int64)
