"""The test images used in analyses of runs: those of query identities, thinned out by given numbers and a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossreid.data.records import Record, Split, in_order
from crossreid.data.tracklets import spread_over, tracklets_of
from crossreid.evaluation.protocols import PROTOCOLS


def asked_records(split: Split, images: int) -> list[Record]:
    """Return test images of query identities, without junk and distractors; at most `images` per tracklet, spread."""
    junk = PROTOCOLS[split.protocol].junk
    asked = {record.identity for record in split.query} - set(junk)
    found = tracklets_of(record for record in split.test if record.identity in asked)
    return in_order(t.frames[position] for t in found for position in spread_over(len(t.frames), images))


def some_identities(records: Sequence[Record], limit: int, seed: int) -> list[Record]:
    """Return all records, or beyond `limit` those of identities drawn until another would be too many; at least two."""
    order = np.random.default_rng(seed).permutation(sorted({record.identity for record in records})).tolist()
    sizes = {name: sum(record.identity == name for record in records) for name in order}
    kept = {
        name
        for position, name in enumerate(order)
        if position < 2 or sum(sizes[n] for n in order[: position + 1]) <= limit
    }
    return [record for record in records if record.identity in kept]


def choose_images(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Return one image each of at most `count` identities, from one of the cameras shown least so far."""
    generator = np.random.default_rng(seed)
    known = sorted({record.identity for record in records})
    shown: dict[int, int] = {}
    chosen = []
    for identity in generator.permutation(known)[:count].tolist():
        own = [record for record in records if record.identity == identity]
        fewest = min(shown.get(record.camera, 0) for record in own)
        own = [record for record in own if shown.get(record.camera, 0) == fewest]
        chosen.append(own[int(generator.integers(len(own)))])
        shown[chosen[-1].camera] = fewest + 1
    return chosen
