"""The search service: a model, a gallery and everything around them, and what routes need from it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
import torch
from fastapi import Request
from torch import Tensor

from crossreid import files
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.galleries.entries import Entry, Matches
from crossreid.galleries.errors import GalleryError
from crossreid.galleries.filters import Filter
from crossreid.galleries.gallery import Gallery
from crossreid.galleries.judging import Threshold, at_prior
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.service.audit import Audit
from crossreid.service.batched_queries import EmbeddingQuery, ImageQuery, embed_queries, search_queries
from crossreid.service.batching import Batcher
from crossreid.service.configuration import ServiceOptions
from crossreid.service.decoders import Decoders
from crossreid.service.explainer import Explainer
from crossreid.service.housekeeping import Housekeeping
from crossreid.service.kept_images import KeptImages
from crossreid.service.metrics import Metrics
from crossreid.service.pictures import Pictures
from crossreid.service.refusals import Refusal
from crossreid.service.siblings import Siblings, lock_state
from crossreid.service.turns import Turns, asker
from crossreid.service.watch_folder import WatchFolder

_SEARCHES = 64  # compared at a time
_PRIORS = 64  # stated by requests, whose curves are cached
_READERS = 8  # threads that read the gallery
Found = TypeVar("Found")


class SearchService:
    """One model, one gallery open for writing, one audit log. `running` starts the background work.
    `siblings`: set if it is one worker of several.

    Raises `CrossreidError` if its state folder belongs to another service or cannot be written, or a threshold has no
    calibration; the gallery is then closed.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        gallery: Gallery,
        options: ServiceOptions,
        explainer: Explainer | None = None,
        watch: WatchFolder | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        self.model, self.gallery, self.options, self.explainer = model, gallery, options, explainer
        self.watch = watch
        self.siblings = siblings or Siblings(options.in_flight)
        self.metrics = Metrics(self._count, self.siblings.metrics)
        self._lock: int | None = None
        copies = options.state / "images.sqlite"
        try:
            own = model.calibration
            self.calibration = own if own is not None else gallery.calibration()
            self._at_prior = lru_cache(_PRIORS)(partial(at_prior, where="the service"))
            self.threshold = Threshold(options.unknown_below, options.false_accept_rate)
            self.threshold.refuse_without(self.calibration, gallery.location)
            self._lock = lock_state(options.state) if siblings is None else None  # else the parent process has it
            self.audit = Audit(options.state / "audit")
            # What an earlier service kept is still shown and deleted even if no more is kept.
            self.kept = KeptImages(copies, gallery.uuid) if options.keep_images or copies.is_file() else None
        except BaseException:
            self._unlock()
            gallery.close()
            raise
        self.decoders = Decoders(options.decode_seconds)
        self.pictures = Pictures(options.images, self.kept, self.decoders.decode, model.preprocessing.levels)
        self.housekeeping = Housekeeping(gallery, self.kept, self.audit, options, self.metrics, siblings=self.siblings)
        self._decoding = ThreadPoolExecutor(options.decoders, thread_name_prefix="decode")
        self._turns = Turns(options.decoders)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="gallery")
        # Separate from those, as writing waits for compaction and reading does not.
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._explaining = asyncio.Lock()
        self._embedder: Batcher[ImageQuery, np.ndarray] = Batcher(
            partial(embed_queries, model), most=options.batch, wait=options.batch_wait, size=len,
            observe=self.metrics.batches.observe, name="embed",
        )  # fmt: skip
        self._searcher: Batcher[EmbeddingQuery, Matches] = Batcher(
            partial(search_queries, gallery), most=_SEARCHES, wait=0.0, observe=self.metrics.searches.observe,
            name="search",
        )  # fmt: skip

    def calibration_at(self, prior: float | None) -> Calibration | None:
        """The calibration at the prior of a request, or at its own. Raises `Refusal` (422) if that is impossible."""
        try:
            return self._at_prior(self.calibration, prior)
        except CrossreidError as error:
            raise Refusal(422, f"prior: {error}") from error

    async def size_to_judge(self) -> int:
        """The number of entries of the gallery if a threshold depends on it; else 0."""
        return await self.in_thread(len, self.gallery) if self.threshold.false_accept_rate is not None else 0

    @asynccontextmanager
    async def running(self, _app: Any = None) -> AsyncIterator[None]:
        """Serve; at the end wait for running requests and close the gallery."""
        self._embedder.start()
        self._searcher.start()
        self.housekeeping.start()
        try:
            yield
        finally:
            await self._embedder.stop()
            await self._searcher.stop()
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Release threads and files, including the gallery's."""
        self.housekeeping.stop()
        for pool in (self._decoding, self._readers, self._writers):
            pool.shutdown(wait=True)
        self.decoders.close()
        if self.kept is not None:
            self.kept.close()
        if self.watch is not None:
            self.watch.close()
        self.audit.close()
        self.gallery.close()
        self.siblings.close()
        self._unlock()

    async def decode(self, convert: Callable[..., Found], *arguments: Any) -> Found:
        """Run a function that decodes images, as many at a time as there are decoders; keys take turns."""
        async with self._turns.turn(asker.get()):
            return await asyncio.get_running_loop().run_in_executor(self._decoding, convert, *arguments)

    async def in_thread(self, function: Callable[..., Found], *arguments: Any) -> Found:
        """Run a function that waits for a disk or a database."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    async def write(self, change: Callable[[], Found], *, deletes: bool, ids: Sequence[str] = ()) -> Found:
        """Run a change to entries and their kept images, one at a time; for `ids`, among all workers of a machine."""

        def alone() -> Found:
            with self.housekeeping.changing(deletes=deletes, ids=ids):
                return change()

        return await asyncio.get_running_loop().run_in_executor(self._writers, alone)

    async def explain(self, request: Request, explanation: Callable[[], Found]) -> Found:
        """Run an explanation, one at a time: it is slow, and others need the threads.

        Raises `Refusal` if the client has disconnected meanwhile.
        """
        async with self._explaining:
            if await request.is_disconnected():
                raise Refusal(400, "the connection ended before the maps were computed.")
            return await self.in_thread(explanation)

    async def embed(self, images: Sequence[Tensor], modality: int, *, as_set: bool) -> np.ndarray:
        """Transformed images `(3, H, W)` to embeddings `(n, D)`, or as a set to `(1, D)`, batched with other requests."""
        modalities = torch.full((len(images),), modality, dtype=torch.int64)
        what = "set" if as_set and len(images) > 1 else "images"
        return await self._embedder.submit(ImageQuery(torch.stack(list(images)), modalities, what))  # type: ignore[arg-type]

    async def search(self, embedding: np.ndarray, k: int, filter: Filter) -> Matches:
        """The k entries nearest to an embedding `(D,)` among those of a filter, batched with other requests."""
        return await self._searcher.submit(EmbeddingQuery(embedding, k, filter))

    async def entries(self, ids: Sequence[str]) -> list[Entry]:
        """Entries with their embeddings. Raises `Refusal` (404) naming the first id that does not exist."""
        found = await self.in_thread(self.gallery.get, ids)
        for id, entry in zip(ids, found, strict=True):
            if entry is None:
                raise Refusal(404, f"the gallery has no entry {id[:200]!r}; it may have been deleted.")
        return [entry for entry in found if entry is not None]

    def record(self, request: Request, action: str, **facts: Any) -> None:
        """Write to the audit log what a request did; if that fails it is not answered."""
        state = request.state
        self.audit.write(action, {"request": state.request, "key": state.key.name, "address": state.address, **facts})

    def _count(self) -> float:
        try:
            return len(self.gallery)
        except GalleryError:
            return math.nan  # and the other figures are still reported

    def _unlock(self) -> None:
        if self._lock is not None:
            files.unlock(self._lock)
            self._lock = None
