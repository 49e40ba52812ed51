"""What a service does unasked: entries and days of the audit log that have had their time go, and so does what they left.

A thread of its own, once a minute. An entry's time is over `retain_days` after it was taken or was added, whichever is
first; then it is found no more, its kept image is deleted, and within `compact_hours` its bytes are out of the files.
"""

from __future__ import annotations

import logging
import threading
import time

from crossreid.search.entries import Filter
from crossreid.search.gallery import Gallery
from crossreid.search.service.audit import Audit
from crossreid.search.service.metrics import Metrics
from crossreid.search.service.pictures import Kept
from crossreid.search.service.settings import Settings

_DAY = 86_400
_UNCOVERED, _MANY = 0.25, 50_000  # of the entries, and entries: where both are passed the index is built anew
_log = logging.getLogger("crossreid.service")


class Housekeeping:
    """`round` does all that is due; `start` repeats it every `every` seconds until `stop`."""

    def __init__(
        self, gallery: Gallery, kept: Kept | None, audit: Audit, settings: Settings, metrics: Metrics, every: float = 60
    ) -> None:
        self.gallery, self.kept, self.audit, self.settings, self.metrics = gallery, kept, audit, settings, metrics
        self._every = every
        self._compacted = 0.0  # when; the first round removes what an earlier service left
        self._orphans = True  # there may be images without an entry: the process may have died between the two
        self._working = threading.Lock()
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
        """Delete what is over, forget kept images without an entry, compact, and build an index that covers too little."""
        now = time.time() if now is None else now
        with self._working:
            if self.settings.retain_days is not None:
                over = now - self.settings.retain_days * _DAY
                count = self.gallery.delete(filter=Filter(until=over))
                count += self.gallery.delete(filter=Filter(added_until=over))
                if count:
                    self._orphans = True
                    self.metrics.expired.inc(count)
                    self.audit.write("expired", {"entries": count, "days": self.settings.retain_days})
            if self.settings.retain_audit_days is not None:
                self.audit.forget(self.settings.retain_audit_days)
            if self._orphans:
                self._forget_images()
            stats = self.gallery.stats()
            if stats.deleted and now - self._compacted >= self.settings.compact_hours * 3600:
                self._compact(now)
            if stats.uncovered > max(_MANY, _UNCOVERED * stats.entries):
                self.gallery.build_index()

    def forget_images(self) -> None:
        """Delete the kept images whose entries are gone."""
        with self._working:
            self._forget_images()

    def compact(self) -> None:
        """Remove now what deleted entries and images left in the files."""
        with self._working:
            self._compact(time.time())

    def _compact(self, now: float) -> None:
        self.gallery.compact()
        if self.kept is not None:
            self.kept.compact()
        self._compacted = now
        self.metrics.compacted.set(now)

    def _forget_images(self) -> None:
        if self.kept is not None:
            for ids in self.kept.ids():
                entries = self.gallery.get(ids)
                self.kept.delete([id for id, entry in zip(ids, entries, strict=True) if entry is None])
        self._orphans = False

    def _repeat(self) -> None:
        while True:
            try:
                self.round()
            except Exception:  # the next round may do better; operators see that this one did not
                self.metrics.housekeeping_failures.inc()
                _log.exception("housekeeping: what was due may not have been deleted; it is tried again")
            if self._over.wait(self._every):
                return
