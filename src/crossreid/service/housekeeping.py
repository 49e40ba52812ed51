"""Housekeeping: deletes expired entries and days of the audit log, and what they left in the files.

It runs in its own thread, once a minute, in one of the workers on a machine.
An entry expires `retain_days` after it was taken or added, whichever is
first; then it is no longer found, its kept image is deleted, and within `compact_hours` its bytes are gone from the files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crossreid.galleries.expiring import expire
from crossreid.galleries.gallery import Gallery
from crossreid.galleries.location import is_cluster
from crossreid.service.audit import Audit
from crossreid.service.configuration import ServiceOptions
from crossreid.service.kept_images import KeptImages
from crossreid.service.metrics import Metrics
from crossreid.service.siblings import Siblings

_TAKEN_OVER = 5.0  # seconds until another worker's death is noticed
_UNCOVERED, _MANY = 0.25, 50_000  # share of the entries, and number: if both are exceeded the index is rebuilt
_log = logging.getLogger("crossreid.service")


class Housekeeping:
    """`round` does everything that is due; `start` repeats it every `every` seconds until `stop`."""

    def __init__(
        self,
        gallery: Gallery,
        kept: KeptImages | None,
        audit: Audit,
        options: ServiceOptions,
        metrics: Metrics,
        every: float = 60,
        siblings: Siblings | None = None,
    ) -> None:
        self.gallery, self.kept, self.audit, self.options, self.metrics = gallery, kept, audit, options, metrics
        self._every = every
        self._siblings = siblings or Siblings(options.in_flight)
        self._left = self._siblings.leftovers
        self._compacted = 0.0  # time of the last one; the first round removes what an earlier service left
        self._working = threading.Lock()
        self._changing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current round."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self, now: float | None = None) -> None:
        """Delete what has expired and kept images without an entry, compact, and rebuild an index that covers too little.

        Each is tried even if others failed. Raises an `ExceptionGroup` of the failures.
        """
        now = time.time() if now is None else now
        failed: list[Exception] = []
        with self._working:
            for step in (self._expire, self._forget_days, self._forget_images, self._tidy, self._index):
                try:
                    step(now)
                except Exception as error:
                    failed.append(error)
        if failed:
            raise ExceptionGroup("housekeeping", failed)

    @contextmanager
    def changing(self, *, deletes: bool, ids: Sequence[str] = ()) -> Iterator[None]:
        """Entries and their kept images are about to change: nobody else here changes either meanwhile, and no other worker
        changes those of these ids.

        If it ends in an error, the next round looks for what was left.
        """
        with self._changing, self._siblings.changing(ids), self._left.of_change(deletes=deletes):
            yield

    def forget_images(self) -> None:
        """Delete the kept images whose entries are gone, within `changing`."""
        for ids in self.kept.ids() if self.kept is not None else ():
            self._forget(ids)

    def compact(self) -> None:
        """Remove what deleted entries and images left in the files, now."""
        with self._working:
            self._compact(time.time(), entries=True, images=True)

    def _expire(self, now: float) -> None:
        if self.options.retain_days is None:
            return
        with self.changing(deletes=False):
            count = expire(self.gallery, self.options.retain_days, now)
        if count:
            self._left.images = self._left.traces = True
            self.metrics.expired.inc(count)
            self.audit.write("expired", {"entries": count, "days": self.options.retain_days})

    def _forget_days(self, _now: float) -> None:
        if self.options.retain_audit_days is not None:
            self.audit.forget(self.options.retain_audit_days)

    def _forget_images(self, _now: float) -> None:
        if not self._left.images or self.kept is None:
            return
        self._left.images = False  # failures from here on count again
        try:
            for ids in self.kept.ids():
                with self._changing, self._siblings.sorting_out():
                    self._forget(ids)
        except BaseException:
            self._left.images = True
            raise

    def _forget(self, ids: list[str]) -> None:
        assert self.kept is not None
        known = set(self.gallery.known(ids))
        if gone := [id for id in ids if id not in known]:
            self.kept.delete(gone)

    def _tidy(self, now: float) -> None:
        if 0 <= now - self._compacted < self.options.compact_hours * 3600:
            return  # unless the clock was set back: better once too often
        if is_cluster(self.gallery.location):
            self._left.images = True  # for the next round, as others delete entries too
        deleted = self.gallery.stats().deleted
        self._compact(
            now,
            self._left.traces if deleted is None else deleted > 0,
            images=self.kept is not None and self.kept.traces,
        )

    def _index(self, _now: float) -> None:
        stats = self.gallery.stats()
        if stats.uncovered > max(_MANY, _UNCOVERED * stats.entries):
            self.gallery.build_index()

    def _compact(self, now: float, entries: bool, images: bool) -> None:
        if images and self.kept is not None:
            self.kept.compact()
        if entries:
            self._left.traces = False  # what is deleted from here on counts again
            try:
                self.gallery.compact()
            except BaseException:
                self._left.traces = True
                raise
        if entries or images:
            self._compacted = now
            self.metrics.compacted.set(now)

    def _repeat(self) -> None:
        while True:
            ours = False
            try:
                if ours := self._siblings.keeps_house():
                    self.round()
            except Exception:  # the next round may succeed; operators see that this one failed
                self.metrics.housekeeping_failures.inc()
                _log.exception("housekeeping: what was due may not have been deleted; it will be retried")
            if self._over.wait(self._every if ours else min(self._every, _TAKEN_OVER)):
                return
