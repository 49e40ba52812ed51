"""Queries without a match: their identity is not in the gallery, or only where the protocol excludes it."""

from __future__ import annotations

from collections import Counter

from crossreid.data.records import Record, Split
from crossreid.evaluation.protocols import PROTOCOLS


def unmatched_queries(split: Split) -> list[Record]:
    """Return the query images without a match in the gallery, by the exclusion of the split's protocol; junk is not a
    query.

    Images of the query's identity and camera, and of its tracklet, are left out whatever their frames, so for protocols
    that use frames there may be a few too many.
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
