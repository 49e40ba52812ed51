"""Embeddings with everything that a protocol needs to know about their images: the input of evaluation.

Rows are in the canonical order of `crossreid.data.records.in_order` (identity, camera, path), by which
ties are broken and SYSU-MM01's permutations count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossreid.data.records import DataError, Modality, Record, in_order
from crossreid.data.tracklets import tracklet_name
from crossreid.evaluation.host_distances import finite_rows
from crossreid.evaluation.tensors import is_tensor
from crossreid.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

ROLES = ("query", "gallery", "both")
_FIELDS = ("embeddings", "identities", "cameras", "modalities", "positions", "names", "roles", "frames", "tracklets")
_OPTIONAL = ("frames", "tracklets")


@dataclass(frozen=True, eq=False)
class Features:
    """N embeddings with their images, row by row.

    embeddings `(N, D)` float32 or float64, finite; identities `(N,)` str; cameras `(N,)` int64, 0 if unknown;
    modalities `(N,)` int64, values of `Modality`; positions `(N,)` int64, 0-based index of the image among those of its
    identity and camera; names `(N,)` str, a path or ''; roles `(N,)` str: 'query', 'gallery' or 'both'; frames `(N,)`
    int64, index in the camera's video, -1 if unknown (all, if not given); tracklets `(N,)` str, the tracklet of an
    image, '' if unknown (all, if not given). Raises `DataError` naming the field if lengths, types or values do not
    fit.
    """

    embeddings: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    modalities: np.ndarray
    positions: np.ndarray
    names: np.ndarray
    roles: np.ndarray
    frames: np.ndarray | None = None
    tracklets: np.ndarray | None = None

    def __post_init__(self) -> None:
        try:
            embeddings = finite_rows(np.asarray(self.embeddings))
        except (ValueError, TypeError) as error:
            raise DataError(f"features: {error}") from error
        object.__setattr__(self, "embeddings", embeddings)
        if self.frames is None:
            object.__setattr__(self, "frames", np.full(len(embeddings), -1, dtype=np.int64))
        if self.tracklets is None:
            object.__setattr__(self, "tracklets", np.full(len(embeddings), "", dtype=np.str_))
        for name in _FIELDS[1:]:
            values = np.asarray(getattr(self, name))
            if values.shape != (len(embeddings),):
                raise DataError(
                    f"features: expected one {name} value per embedding ({len(embeddings)}), "
                    f"found shape {values.shape}."
                )
            if name in ("identities", "names", "roles", "tracklets"):
                if values.dtype.kind not in "USO":
                    raise DataError(f"features: expected {name} as text, found {values.dtype}.")
                values = values.astype(np.str_)
            else:
                if values.dtype.kind not in "iu":
                    raise DataError(f"features: expected {name} as whole numbers, found {values.dtype}.")
                values = values.astype(np.int64)
            object.__setattr__(self, name, values)
        for name, allowed in (("roles", ROLES), ("modalities", tuple(int(m) for m in Modality))):
            values = getattr(self, name)
            wrong = ~np.isin(values, allowed)
            if wrong.any():
                raise DataError(f"features: {name} must be {allowed}, found {values[wrong][0]!r}.")
        if (self.cameras < 0).any() or (self.positions < 0).any():
            raise DataError("features: cameras and positions must not be negative; use camera 0 if it is unknown.")

    def __len__(self) -> int:
        return len(self.embeddings)

    def take(self, rows: np.ndarray) -> Features:
        """Return the given rows (indices or a mask), with positions unchanged."""
        return Features(*(getattr(self, name)[rows] for name in _FIELDS))


def features_of(
    query: Iterable[Record],
    gallery: Iterable[Record],
    embeddings: np.ndarray | Tensor | Mapping[Record, np.ndarray],
) -> Features:
    """Return features of the images of a query and a gallery, each image once.

    `embeddings` is either `(N, D)`, row i belonging to `in_order({*query, *gallery})[i]` (for a `Split`: `split.test`),
    or a mapping from each record to its `(D,)` vector. A record on both sides has the role 'both'.
    Raises `DataError` if there is no record, a record has no embedding, or the numbers differ.
    """
    queries, others = set(query), set(gallery)
    records = in_order(queries | others)
    if not records:
        raise DataError("features: query and gallery are both empty.")
    if isinstance(embeddings, Mapping):
        missing = [record for record in records if record not in embeddings]
        if missing:
            raise DataError(
                f"features: no embedding for {missing[0].path} (missing for {len(missing)} of {len(records)} images)."
            )
        embeddings = np.stack([np.asarray(embeddings[record]) for record in records])
    elif is_tensor(embeddings):
        given = embeddings.detach()
        embeddings = (given.float() if str(given.dtype) == "torch.bfloat16" else given).cpu().numpy()
    if len(embeddings) != len(records):
        raise DataError(f"features: expected {len(records)} embeddings, one per image, found {len(embeddings)}.")
    return Features(
        embeddings=embeddings,
        identities=np.array([record.identity for record in records], dtype=np.str_),
        cameras=np.array([record.camera for record in records], dtype=np.int64),
        modalities=np.array([int(record.modality) for record in records], dtype=np.int64),
        positions=positions_of([(record.identity, record.camera) for record in records]),
        names=np.array([record.name for record in records], dtype=np.str_),
        roles=np.array(
            ["both" if r in queries and r in others else "query" if r in queries else "gallery" for r in records]
        ),
        frames=np.array([record.frame for record in records], dtype=np.int64),
        tracklets=np.array(
            ["" if record.tracklet is None else tracklet_name(record) for record in records], dtype=np.str_
        ),
    )


def positions_of(groups: Sequence[tuple[str, int]]) -> np.ndarray:
    """Return `(N,)` int64: the number of earlier rows with the same (identity, camera)."""
    seen: dict[tuple[str, int], int] = {}
    positions = np.empty(len(groups), dtype=np.int64)
    for row, group in enumerate(groups):
        positions[row] = seen.get(group, 0)
        seen[group] = positions[row] + 1
    return positions


def save(features: Features, path: Path) -> None:
    """Write an `.npz` file atomically; nothing in it needs unpickling."""
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **{name: getattr(features, name) for name in _FIELDS})


def load(path: Path) -> Features:
    """Read what `save` wrote. Raises `DataError` naming the file if it is missing, damaged or incomplete."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} not found; expected features written by `crossreid embed`.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in _FIELDS if name not in archive and name not in _OPTIONAL]
            arrays = {} if missing else {name: archive[name] for name in _FIELDS if name in archive}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{path} cannot be read as .npz features ({error}); write it again.") from error
    except Exception as error:  # zipfile and zlib raise their own exception classes
        raise DataError(f"{path} is damaged ({error}); write it again.") from error
    if missing:
        raise DataError(
            f"{path}: expected the arrays {', '.join(n for n in _FIELDS if n not in _OPTIONAL)}; missing: {', '.join(missing)}."
        )
    return Features(**arrays)
