"""The service as an object: a model, a gallery and what stands around them, with what every route asks of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from fastapi import Request
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.galleries import locking
from crossreid.galleries.entries import Entry, Filter, Matches
from crossreid.galleries.errors import GalleryError, GalleryLocked
from crossreid.galleries.gallery import Gallery
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.service.attending import Explainer
from crossreid.service.audit import Audit
from crossreid.service.batching import Batcher
from crossreid.service.housekeeping import Housekeeping
from crossreid.service.metrics import Metrics
from crossreid.service.pictures import Kept, Pictures
from crossreid.service.refusals import Refusal
from crossreid.service.schemas import first
from crossreid.service.settings import Role, Settings
from crossreid.service.uploads import Query, embed_queries

Found = TypeVar("Found")


class Asked(NamedTuple):
    """A search: an embedding `(D,)`, how many matches, among which entries."""

    embedding: np.ndarray
    k: int
    filter: Filter


class Service:
    """One model, one gallery that it has open for writing, one audit log. `running` starts what works beside requests."""

    def __init__(
        self, model: EmbeddingModel, gallery: Gallery, settings: Settings, explainer: Explainer | None = None
    ) -> None:
        self.model, self.gallery, self.settings, self.explainer = model, gallery, settings, explainer
        self.metrics = Metrics()
        self.metrics.entries.set_function(self._count)
        self._state: int | None = None
        copies = settings.state / "images.sqlite"
        try:
            self._state = _taken(settings.state)
            self.audit = Audit(settings.state / "audit")
            # What an earlier service kept is shown and deleted also where no more is kept.
            self.kept = Kept(copies, gallery.uuid) if settings.keep_images or copies.is_file() else None
        except BaseException:
            self._release()
            gallery.close()
            raise
        self.pictures = Pictures(settings.images, self.kept)
        self.housekeeping = Housekeeping(gallery, self.kept, self.audit, settings, self.metrics)
        self._decoders = ThreadPoolExecutor(settings.workers, thread_name_prefix="decode")
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="gallery")
        # Apart from them, as writing waits for compaction, and reading does not.
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._explaining = asyncio.Lock()
        self._embedder: Batcher[Query, np.ndarray] = Batcher(
            lambda queries: embed_queries(model, queries),
            most=settings.batch, wait=settings.batch_wait, size=len,
            observe=self.metrics.batches.observe, name="embed",
        )  # fmt: skip
        self._searcher: Batcher[Asked, Matches] = Batcher(
            self._search, most=64, wait=0.0, observe=self.metrics.searches.observe,
            name="search",
        )  # fmt: skip

    @asynccontextmanager
    async def running(self, _app: Any = None) -> AsyncIterator[None]:
        """Serve; at the end wait for what is in hand, and close the gallery."""
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
        """Give back threads and files, the gallery's too."""
        self.housekeeping.stop()
        self._decoders.shutdown(wait=True)
        self._threads.shutdown(wait=True)
        self._writers.shutdown(wait=True)
        if self.kept is not None:
            self.kept.close()
        self.audit.close()
        self.gallery.close()
        self._release()

    def _release(self) -> None:
        if self._state is not None:
            locking.unlock(self._state)
            self._state = None

    async def decode(self, convert: Callable[..., Found], *arguments: Any) -> Found:
        """Run something that decodes images, as many at a time as there are workers."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, convert, *arguments)

    async def thread(self, function: Callable[..., Found], *arguments: Any) -> Found:
        """Run something that waits for a disk or a database."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def write(self, change: Callable[[], Found], *, deletes: bool) -> Found:
        """Run what changes entries and their kept images, one at a time."""

        def alone() -> Found:
            with self.housekeeping.changing(deletes=deletes):
                return change()

        return await asyncio.get_running_loop().run_in_executor(self._writers, alone)

    async def explain(self, request: Request, explanation: Callable[[], Found]) -> Found:
        """Run an explanation, one at a time: it is slow, and others need the threads. Raises `Refusal` where who asked has gone."""
        async with self._explaining:
            if await request.is_disconnected():
                raise Refusal(400, "the connection ended before the maps were asked for.")
            return await self.thread(explanation)

    async def embed(self, images: Sequence[Tensor], modality: int, *, as_set: bool) -> np.ndarray:
        """Transformed images `(3, H, W)` to embeddings `(n, D)`, or as a set to `(1, D)`, with whoever else asks now."""
        what = "set" if as_set and len(images) > 1 else "images"
        modalities = torch.full((len(images),), modality, dtype=torch.int64)
        return await self._embedder.submit(Query(torch.stack(list(images)), modalities, what))  # type: ignore[arg-type]

    def _count(self) -> float:
        try:
            return len(self.gallery)
        except GalleryError:
            return math.nan  # and the other figures are told all the same

    async def search(self, embedding: np.ndarray, k: int, filter: Filter) -> Matches:
        return await self._searcher.submit(Asked(embedding, k, filter))

    def _search(self, asked: list[Asked]) -> list[Matches]:
        """Queries with one filter are compared together, for the largest k of them."""
        found: list[Matches | None] = [None] * len(asked)
        for filter in dict.fromkeys(each.filter for each in asked):
            places = [place for place, each in enumerate(asked) if each.filter == filter]
            queries = np.stack([asked[place].embedding for place in places])
            matches = self.gallery.search(queries, max(asked[place].k for place in places), filter)
            for place, own in zip(places, matches, strict=True):
                found[place] = first(own, asked[place].k)
        return [each for each in found if each is not None]

    async def entries(self, ids: Sequence[str]) -> list[Entry]:
        """Entries with their embeddings. Raises `Refusal` (404) naming the first id that there is not."""
        found = await self.thread(self.gallery.get, ids)
        for id, entry in zip(ids, found, strict=True):
            if entry is None:
                raise Refusal(404, f"the gallery has no entry {id[:200]!r}; it may have been deleted.")
        return [entry for entry in found if entry is not None]

    def require(self, request: Request, role: Role) -> None:
        """Raises `Refusal` (403) where the request's key lacks the role."""
        key = request.state.key
        if not key.may(role):
            self.told(request, "refused", needs=role, path=request.url.path)
            raise Refusal(403, f"the key {key.name!r} may {', '.join(key.roles)}, and this needs {role}.")

    def told(self, request: Request, action: str, **facts: Any) -> None:
        """Write into the audit log what a request did; without that it is not answered."""
        state = request.state
        self.audit.write(action, {"request": state.request, "key": state.key.name, "address": state.address, **facts})


def _taken(state: Path) -> int:
    """The lock of a service's folder. Raises `CrossreidError` where it cannot be had."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        return locking.lock(state / "lock")
    except GalleryLocked as error:
        raise CrossreidError(f"another service keeps its state in {state}; name another --state.") from error
    except (OSError, GalleryError) as error:
        raise CrossreidError(f"{state} cannot be made or written; name another --state.") from error
