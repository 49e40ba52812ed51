"""A gallery as a dictionary, written from the contract alone: what every backend is compared with."""

import math


class PlainGallery:
    """id -> (embedding, identity, camera, modality, time, source, added)."""

    def __init__(self):
        self.entries = {}

    def matching(self, **conditions):
        """The ids of entries that meet all conditions, which are named as those of `Filter`."""
        return [name for name, entry in self.entries.items() if meets(entry, **conditions)]

    def search(self, query, k, **conditions):
        """The k best (id, cosine), by cosine and then by id."""
        found = [(cosine(query, self.entries[name][0]), name) for name in self.matching(**conditions)]
        return [(name, score) for score, name in sorted(found, key=lambda pair: (-pair[0], pair[1]))[:k]]


def meets(
    entry, identity=None, cameras=None, modality=None, since=None, until=None, source=None, source_prefix=None, added_until=None
):  # fmt: skip
    _, own_identity, camera, own_modality, time, own_source, added = entry
    return (
        (identity is None or own_identity == identity)
        and (cameras is None or camera in cameras)
        and (modality is None or own_modality == modality)
        and (since is None or (time is not None and time >= since))
        and (until is None or (time is not None and time < until))
        and (source is None or own_source == source)
        and (source_prefix is None or own_source.startswith(source_prefix))
        and (added_until is None or added < added_until)
    )


def cosine(left, right):
    return math.fsum(a * b for a, b in zip(left, right, strict=True)) / math.sqrt(
        math.fsum(a * a for a in left) * math.fsum(b * b for b in right)
    )
