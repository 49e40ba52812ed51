"""Queries that no gallery image answers: their identity is not there, or only where the protocol does not look."""

from __future__ import annotations

from collections import Counter

from crossreid.data.records import Record, Split
from crossreid.evaluation.protocols import PROTOCOLS


def unmatched_queries(split: Split) -> list[Record]:
    """The query images without a match in the gallery, by the exclusion of the split's protocol; junk is no query.

    Images of one identity and camera are left out whatever their frames, and those of a query's own tracklet with it, so that
    of protocols which look at frames it may be a few too many.
    """
    plan = PROTOCOLS[split.protocol]
    exclusion, junk = plan.exclusion, set(plan.junk)
    images = Counter(record.identity for record in split.gallery)
    by_camera = Counter((record.identity, record.camera) for record in split.gallery)
    by_film = Counter((record.identity, record.camera, record.tracklet) for record in split.gallery if record.tracklet)
    listed = set(split.gallery)
    own_camera = exclusion.identity_and_camera or exclusion.camera
    unmatched = []
    for record in split.query:
        if record.identity in junk:
            continue
        left = images[record.identity]
        skipped = {theirs for ours, theirs in exclusion.places if ours == record.camera}
        if own_camera and record.camera > 0:
            skipped.add(record.camera)
        left -= sum(by_camera[record.identity, camera] for camera in skipped)
        if record.camera not in skipped:
            film = by_film[record.identity, record.camera, record.tracklet] if record.tracklet else 0
            left -= film or (record in listed)
        if left <= 0:
            unmatched.append(record)
    return unmatched
