"""Images compared by their local features: the protocol of a matcher, its registry, and the scores of many pairs.

An image is described once; its features stay in memory, and with a cache folder on disk under the digest of the pixels
and the matcher's settings, so that another run does not describe it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from crossreid.data.images import load_image
from crossreid.data.records import Modality, Record
from crossreid.errors import CrossreidError
from crossreid.files import replacing
from crossreid.fusion.aligning import Aligned
from crossreid.registry import Registry

Described = Mapping[str, np.ndarray]  # arrays of one image's features, `points` `(K, 2)` in pixels among them


class LocalMatcher(Protocol):
    """What compares two images by their local features.

    `settings` says all that the features depend on, in one line; they are cached under it.
    """

    settings: str

    def describe(self, image: np.ndarray) -> Described:
        """The features of an image `(H, W, 3)` uint8 RGB."""
        ...

    def compare(self, first: Described, second: Described) -> float:
        """How much of two images matches, not negative and finite: the number of verified inliers, each by its weight."""
        ...

    def match(self, first: np.ndarray, second: np.ndarray) -> float:
        """`compare` of two images as they are."""
        ...


MATCHERS: Registry[Callable[..., LocalMatcher]] = Registry(
    "local matcher", "crossreid.matchers", ("crossreid.fusion.sift", "crossreid.fusion.lightglue")
)
Made = TypeVar("Made", bound=Callable[..., LocalMatcher])


def register_matcher(name: str) -> Callable[[Made], Made]:
    """A decorator that makes a class or function a local matcher by a name; it is called with its options as keywords."""
    return MATCHERS.register(name)  # type: ignore[return-value]


def make_matcher(name: str, options: Mapping[str, Any] | None = None) -> LocalMatcher:
    """A local matcher by its name, with options as text or as they are.

    Raises:
        CrossreidError: a name or an option that is not known, a value that is not possible, or a library that is missing.
    """
    try:
        return MATCHERS.find(name)(**(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CrossreidError(f"local matcher {name}: {where or 'options'}: {first['msg']}.") from error


class LocalScores:
    """The local scores of pairs of images, each pair compared once.

    Args:
        aligned: the images; their names are paths.
        matcher: what compares them.
        root: folder that relative names are in.
        cache: folder for the features, made where there is none.
        workers: threads.
        advance: called with a number of pairs that were compared, and how many are to be as far as is known.
    """

    def __init__(
        self,
        aligned: Aligned,
        matcher: LocalMatcher,
        *,
        root: Path | None = None,
        cache: Path | None = None,
        workers: int = 1,
        advance: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        self._names = aligned.features.names
        self._boxes = aligned.boxes
        self._matcher, self._root, self._cache = matcher, root, cache
        self._workers, self._advance = workers, advance
        self._described: dict[int, Described] = {}
        self._found: dict[tuple[int, int], float] = {}
        self.compared = 0

    def __call__(self, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Scores `(n,)` float64 of pairs of rows.

        Raises:
            DataError: an image cannot be read; it is named.
        """
        wanted = list(zip(map(int, queries), map(int, gallery), strict=True))
        new = [pair for pair in dict.fromkeys(wanted) if pair not in self._found]
        rows = [row for row in dict.fromkeys(row for pair in new for row in pair) if row not in self._described]
        # One thread a pair: those that BLAS would add to each only wait for one another.
        with threadpool_limits(1), ThreadPoolExecutor(self._workers, thread_name_prefix="match") as pool:
            self._described |= zip(rows, pool.map(self._describe, rows), strict=True)
            for pair, score in zip(new, pool.map(self._compare, new), strict=True):
                self._found[pair] = score
                self._advance(1, self.compared + len(new))
        self.compared += len(new)
        return np.array([self._found[pair] for pair in wanted], dtype=np.float64)

    def _compare(self, pair: tuple[int, int]) -> float:
        score = float(self._matcher.compare(self._described[pair[0]], self._described[pair[1]]))
        if not 0 <= score < np.inf:
            raise CrossreidError(
                f"local matcher: expected a score that is not negative, found {score} of {self._names[pair[0]]} and "
                f"{self._names[pair[1]]}."
            )
        return score

    def _describe(self, row: int) -> Described:
        pixels = self._pixels(str(self._names[row]))
        if self._cache is None:
            return self._matcher.describe(pixels)
        content = f"{self._matcher.settings}\n{pixels.shape}\n".encode() + pixels.tobytes()
        path = self._cache / f"{hashlib.sha256(content).hexdigest()}.npz"
        if (kept := _read(path)) is not None:
            return kept
        described = self._matcher.describe(pixels)
        self._cache.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **dict(described))  # type: ignore[arg-type]
        return described

    def _pixels(self, name: str) -> np.ndarray:
        path, box = self._boxes.get(name, (name, None))
        where = Path(path) if self._root is None else self._root / path
        if box is None:
            return load_image(where)
        return load_image(Record(where, "", 0, Modality.VISIBLE, box=box))


def _read(path: Path) -> Described | None:
    """Features from the cache; None where there are none, or a file that is damaged and is written again."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception:  # zipfile and zlib raise classes of their own
        return None
