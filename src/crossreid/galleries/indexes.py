"""Approximate indexes: what they are asked for, how they are made, and how one is kept so that only a whole one is read.

HNSW (Malkov and Yashunin, TPAMI 2020) links each vector, kept in half precision, to near ones; IVF-PQ (Jegou et al., TPAMI
2011) keeps a sixteenth of each vector's bytes, in the nearest of many lists. Either only proposes candidates: scores come
from the stored vectors.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.files import replacing

Kind = Literal["exact", "hnsw", "ivf-pq"]
KINDS: tuple[str, ...] = get_args(Kind)
LEAST_FOR_LISTS = 1000  # IVF-PQ learns 256 codes a part of the vector, and can not from fewer entries
_BLOCK = 16_384
_BREADTH = 4096


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How a gallery is searched: `exact`, `hnsw` or `ivf-pq`.

    HNSW: `m` links of an entry, `ef_construction` and `ef_search` candidates kept while building and searching. IVF-PQ:
    `nlist` lists (0: 4 sqrt N), `nprobe` of them searched, `pq_bytes` of each vector (0: a quarter of D, or the next less
    that divides it), the best `refine` candidates compared by their stored vectors.
    Raises `CrossreidError` that names the option.
    """

    kind: Kind = "exact"
    m: int = 16
    ef_construction: int = 100
    ef_search: int = 64
    nlist: int = 0
    nprobe: int = 32
    pq_bytes: int = 0
    refine: int = 200

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CrossreidError(f"index {self.kind!r}: expected one of {', '.join(KINDS)}.")
        for name, least, most in (
            ("m", 2, 512), ("ef_construction", 8, 65536), ("ef_search", 1, 65536), ("nlist", 0, 1 << 24),
            ("nprobe", 1, 1 << 24), ("pq_bytes", 0, 65536), ("refine", 1, 65536),
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise CrossreidError(f"index option {name}={value!r}: expected a whole number from {least} to {most}.")

    def impossible(self, dimension: int, count: int | None = None) -> str:
        """Why no such index can be made over vectors of `dimension` numbers, or over `count` of them; empty if one can."""
        if self.kind != "ivf-pq":
            return ""
        if self.pq_bytes and dimension % self.pq_bytes:
            return f"index option pq_bytes={self.pq_bytes}: expected a divisor of the dimension {dimension}"
        if count is not None and count < LEAST_FOR_LISTS:
            return f"IVF-PQ is learned from at least {LEAST_FOR_LISTS} entries, found {count}; use exact or hnsw"
        if count is not None and self.nlist > count:
            return f"index option nlist={self.nlist}: expected no more lists than entries, of which there are {count}"
        return ""

    def refuse(self, dimension: int, count: int | None = None) -> None:
        """Raise `CrossreidError` where `impossible` says why."""
        if why := self.impossible(dimension, count):
            raise CrossreidError(f"{why}.")

    def built_as(self, other: IndexOptions) -> bool:
        """Whether an index of these options is one of the others too, searched otherwise."""
        searched = {"ef_search": self.ef_search, "nprobe": self.nprobe, "refine": self.refine}
        return replace(other, **searched) == self  # type: ignore[arg-type]

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> IndexOptions:
        """Of what `to_json` wrote. Raises `CrossreidError`."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise CrossreidError(f"no options of an index: {text!r}") from error


@dataclass(frozen=True, eq=False, slots=True)
class ServedIndex:
    """An index over every entry that there was when it was made: rows up to and including `through`."""

    options: IndexOptions
    index: Any  # faiss.IndexIDMap
    through: int
    about: dict[str, Any] = field(default_factory=dict)  # of its file, as `write` told

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def members(self, rows: np.ndarray) -> np.ndarray:
        """Row numbers as the bits that `search` takes."""
        flags = np.zeros(self.through + 1, bool)
        flags[rows] = True
        return np.packbits(flags, bitorder="little")

    def search(self, queries: np.ndarray, k: int, members: np.ndarray | None, share: float) -> np.ndarray:
        """`(Q, k)` int64 row numbers of candidates, -1 where there are no more.

        Only of `members`, where they are given, which are about a `share` of all: the search is so much broader for it.
        """
        import faiss

        selector = None if members is None else faiss.IDSelectorBitmap(members)
        if self.options.kind == "hnsw":
            breadth = min(_BREADTH, math.ceil(max(self.options.ef_search, k) / share))
            given = faiss.SearchParametersHNSW(sel=selector, efSearch=max(k, breadth))
        else:
            given = faiss.SearchParametersIVF(sel=selector, nprobe=math.ceil(self.options.nprobe / share))
        # Where a program has imported faiss.contrib.torch_utils, `search` is one that takes no parameters.
        search = getattr(self.index, "search_numpy", self.index.search)
        return search(queries, k, params=given)[1]


def build(
    options: IndexOptions,
    dimension: int,
    count: int,
    through: int,
    part: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    advance: Callable[..., None] | None = None,
) -> ServedIndex:
    """An index over `count` entries; `part(start, stop)` gives the row numbers `(n,)` and the vectors `(n, D)` of a range.

    `advance(done, total)` is told of entries added.
    Raises `CrossreidError` where there can be none, as `IndexOptions.impossible` says, or faiss fails.
    """
    options.refuse(dimension, count)
    try:
        return ServedIndex(options, _made(options, dimension, count, part, advance), through)
    except RuntimeError as error:
        raise CrossreidError(f"the {options.kind} index could not be made ({error}).") from error


def _made(
    options: IndexOptions,
    dimension: int,
    count: int,
    part: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    advance: Callable[..., None] | None,
) -> Any:
    import faiss

    if options.kind == "hnsw":
        inner = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_fp16, options.m, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = options.ef_construction
        inner.train(part(0, min(count, 1))[1])
    else:
        inner = _trained_lists(options, dimension, count, part)
    index = faiss.IndexIDMap(inner)
    for start in range(0, count, _BLOCK):
        rows, vectors = part(start, min(start + _BLOCK, count))
        index.add_with_ids(vectors, rows)
        if advance is not None:
            advance(len(rows), count)
    return index


def _trained_lists(
    options: IndexOptions, dimension: int, count: int, part: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
) -> Any:
    import faiss

    size = options.pq_bytes or next(n for n in range(max(1, dimension // 4), 0, -1) if dimension % n == 0)
    lists = options.nlist or max(1, min(int(4 * math.sqrt(count)), count // 39))
    quantiser = faiss.IndexFlatIP(dimension)
    inner = faiss.IndexIVFPQ(quantiser, dimension, lists, size, 8, faiss.METRIC_INNER_PRODUCT)
    inner.own_fields = True
    quantiser.this.disown()
    inner.cp.seed = 0
    inner.cp.min_points_per_centroid = inner.pq.cp.min_points_per_centroid = 1  # it warns of small galleries otherwise
    # Blocks from all over the gallery: entries that were added together are alike.
    wanted = min(count, max(64 * lists, 10_000))
    blocks = max(1, min(wanted // 256, 1000))
    length = -(-wanted // blocks)  # no fewer than there are lists
    starts = np.linspace(0, count - length, blocks).astype(int)
    sample = np.concatenate([part(start, start + length)[1] for start in starts])
    inner.train(sample)
    return inner


def write(served: ServedIndex, folder: Path, name: str) -> dict[str, Any]:
    """Keep an index as a file that has its name only when it is whole; what `read` needs to verify it."""
    import faiss

    path = folder / name
    try:
        with replacing(path, durable=True) as temporary:
            faiss.write_index(served.index, str(temporary))
            about = {
                "file": name, "bytes": temporary.stat().st_size, "sha256": _digest(temporary), "entries": len(served),
                "through": served.through, "options": served.options.to_json(),
            }  # fmt: skip
    except RuntimeError as error:
        raise CrossreidError(f"{path} could not be written ({error}).") from error
    return about


def about_of(text: str) -> dict[str, Any]:
    """What `write` told, of its JSON. Raises `CrossreidError` for anything else."""
    try:
        about = json.loads(text)
        options = IndexOptions.from_json(about["options"])
        sizes = [about[name] for name in ("bytes", "entries", "through")]
        whole = all(type(size) is int and 0 <= size < 1 << 48 for size in sizes) and options.kind != "exact"
        if whole and re.fullmatch(r"index-\w+\.faiss", about["file"]) and isinstance(about["sha256"], str):
            return dict(about)
    except (KeyError, TypeError, ValueError):
        pass
    raise CrossreidError(f"no description of an index file: {text!r}")


def read(folder: Path, about: dict[str, Any], dimension: int) -> ServedIndex:
    """The index that `about` tells of. Raises `CrossreidError` that says why it is not served: missing, cut, changed."""
    import faiss

    path = folder / about["file"]
    if not path.is_file():
        raise CrossreidError(f"{path.name} is missing")
    if path.stat().st_size != about["bytes"] or _digest(path) != about["sha256"]:
        raise CrossreidError(f"{path.name} is damaged")
    index = faiss.read_index(str(path))
    if index.d != dimension or index.ntotal != about["entries"]:
        raise CrossreidError(f"{path.name} is of other entries")
    return ServedIndex(IndexOptions.from_json(about["options"]), index, about["through"], about)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
