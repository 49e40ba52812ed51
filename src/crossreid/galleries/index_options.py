"""How a gallery is searched: by comparing with every entry, or by an approximate index with options.

HNSW (Malkov and Yashunin, TPAMI 2020) links each vector, kept in half precision, to near ones; IVF-PQ (Jegou et al.,
TPAMI 2011) keeps a sixteenth of each vector's bytes, in the nearest of many lists.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, get_args

from crossreid.errors import CrossreidError
from crossreid.files import key_value

Kind = Literal["exact", "hnsw", "ivf-pq"]
KINDS: tuple[str, ...] = get_args(Kind)
LEAST_FOR_LISTS = 1000  # IVF-PQ learns 256 codes per part of the vector, which needs this many entries


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How a gallery is searched: `exact`, `hnsw` or `ivf-pq`.

    HNSW: `m` links per entry, `ef_construction` and `ef_search` candidates kept while building and searching. IVF-PQ:
    `nlist` lists (0: 4 sqrt N), `nprobe` of them searched, `pq_bytes` per vector (0: a quarter of D, or the next
    smaller divisor), the best `refine` candidates compared by their stored vectors. Raises `CrossreidError` naming the
    option.
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

    def part_bytes(self, dimension: int) -> int:
        """`pq_bytes`, or its value if 0: the largest divisor of the dimension that is at most a quarter of it."""
        return self.pq_bytes or next(n for n in range(max(1, dimension // 4), 0, -1) if dimension % n == 0)

    def impossible(self, dimension: int, count: int | None = None) -> str:
        """Why such an index cannot be built over `count` vectors of `dimension` numbers; empty if it can."""
        if self.kind != "ivf-pq":
            return ""
        if self.pq_bytes and dimension % self.pq_bytes:
            return f"index option pq_bytes={self.pq_bytes}: expected a divisor of the dimension {dimension}"
        if count is not None and count < LEAST_FOR_LISTS:
            return f"IVF-PQ needs at least {LEAST_FOR_LISTS} entries to learn from, found {count}; use exact or hnsw"
        if count is not None and self.nlist > count:
            return f"index option nlist={self.nlist}: expected no more lists than the {count} entries"
        return ""

    def refuse(self, dimension: int, count: int | None = None) -> None:
        """Raise `CrossreidError` if `impossible` returns a reason."""
        if why := self.impossible(dimension, count):
            raise CrossreidError(f"{why}.")

    def built_as(self, other: IndexOptions) -> bool:
        """Whether an index built with these options also fits the others, differing only in search options."""
        searched = {"ef_search": self.ef_search, "nprobe": self.nprobe, "refine": self.refine}
        return replace(other, **searched) == self  # type: ignore[arg-type]

    def to_json(self) -> str:
        """As text for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> IndexOptions:
        """From the output of `to_json`. Raises `CrossreidError`."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise CrossreidError(f"invalid index options: {text!r}") from error

    @classmethod
    def of_texts(cls, kind: str, texts: Sequence[str] = (), option: str = "--option") -> IndexOptions:
        """From a kind and the `KEY=NUMBER` texts of a command's `option`. Raises `CrossreidError`."""
        names = [each.name for each in fields(cls) if each.name != "kind"]
        expected = f"KEY=NUMBER, of {', '.join(names)}"
        values: dict[str, int] = {}
        for text in texts:
            name, value = key_value(text, option, expected)
            if name not in names or not value.isdecimal():
                raise CrossreidError(f"{option} {text!r}: expected {expected}.")
            values[name] = int(value)
        return cls(kind, **values)  # type: ignore[arg-type]
