"""What a service does unasked: entries and days of the audit log that have had their time go, and so does what they left.

A thread of its own, once a minute. An entry's time is over `retain_days` after it was taken or was added, whichever is
first; then it is found no more, its kept image is deleted, and within `compact_hours` its bytes are out of the files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from crossreid.galleries.filters import Filter
from crossreid.galleries.gallery import Gallery
from crossreid.service.audit import Audit
from crossreid.service.configuration import ServiceOptions
from crossreid.service.kept_images import KeptImages
from crossreid.service.metrics import Metrics

_DAY = 86_400
_UNCOVERED, _MANY = 0.25, 50_000  # of the entries, and entries: where both are passed the index is built anew
_log = logging.getLogger("crossreid.service")


class Housekeeping:
    """`round` does all that is due; `start` repeats it every `every` seconds until `stop`."""

    def __init__(
        self,
        gallery: Gallery,
        kept: KeptImages | None,
        audit: Audit,
        options: ServiceOptions,
        metrics: Metrics,
        every: float = 60,
    ) -> None:
        self.gallery, self.kept, self.audit, self.options, self.metrics = gallery, kept, audit, options, metrics
        self._every = every
        self._compacted = 0.0  # when; the first round removes what an earlier service left
        self._deleted = True  # there may be traces of entries, where the gallery does not say
        self._orphans = True  # there may be images without an entry: the process may have died between the two
        self._working = threading.Lock()
        self._changing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the round in hand."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self, now: float | None = None) -> None:
        """Delete what is over, forget kept images without an entry, compact, and build an index that covers too little.

        Each is tried, whatever became of the others. Raises `ExceptionGroup` of what failed.
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
    def changing(self, *, deletes: bool) -> Iterator[None]:
        """Entries are about to be changed, and their kept images with them: nobody else changes either meanwhile.

        Where it ends in an error, the next round looks for what was left.
        """
        with self._changing:
            before = self._orphans, self._deleted
            self._orphans = self._deleted = True
            yield
            self._orphans, self._deleted = before[0], before[1] or deletes

    def forget_images(self) -> None:
        """Delete the kept images whose entries are gone, within `changing`."""
        for ids in self.kept.ids() if self.kept is not None else ():
            self._forget(ids)

    def compact(self) -> None:
        """Remove now what deleted entries and images left in the files."""
        with self._working:
            self._compact(time.time(), entries=True, images=True)

    def _expire(self, now: float) -> None:
        if self.options.retain_days is None:
            return
        over = now - self.options.retain_days * _DAY
        count = 0
        for chosen in (Filter(until=over), Filter(added_until=over)):
            with self.changing(deletes=False):
                count += self.gallery.delete(filter=chosen)
        if count:
            with self._changing:
                self._orphans = self._deleted = True
            self.metrics.expired.inc(count)
            self.audit.write("expired", {"entries": count, "days": self.options.retain_days})

    def _forget_days(self, _now: float) -> None:
        if self.options.retain_audit_days is not None:
            self.audit.forget(self.options.retain_audit_days)

    def _forget_images(self, _now: float) -> None:
        if not self._orphans or self.kept is None:
            return
        with self._changing:
            self._orphans = False  # what goes wrong from here on counts again
        try:
            for ids in self.kept.ids():
                with self._changing:
                    self._forget(ids)
        except BaseException:
            with self._changing:
                self._orphans = True
            raise

    def _forget(self, ids: list[str]) -> None:
        assert self.kept is not None
        known = set(self.gallery.known(ids))
        if gone := [id for id in ids if id not in known]:
            self.kept.delete(gone)

    def _tidy(self, now: float) -> None:
        if 0 <= now - self._compacted < self.options.compact_hours * 3600:
            return  # not where the clock was set back: better once too often
        deleted = self.gallery.stats().deleted
        self._compact(
            now, self._deleted if deleted is None else deleted > 0, images=self.kept is not None and self.kept.traces
        )

    def _index(self, _now: float) -> None:
        stats = self.gallery.stats()
        if stats.uncovered > max(_MANY, _UNCOVERED * stats.entries):
            self.gallery.build_index()

    def _compact(self, now: float, entries: bool, images: bool) -> None:
        if images and self.kept is not None:
            self.kept.compact()
        if entries:
            with self._changing:
                self._deleted = False  # what is deleted from here on counts again
            try:
                self.gallery.compact()
            except BaseException:
                with self._changing:
                    self._deleted = True
                raise
        if entries or images:
            self._compacted = now
            self.metrics.compacted.set(now)

    def _repeat(self) -> None:
        while True:
            try:
                self.round()
            except Exception:  # the next round may do better; operators see that this one did not
                self.metrics.housekeeping_failures.inc()
                _log.exception("housekeeping: what was due may not have been deleted; it is tried again")
            if self._over.wait(self._every):
                return
