"""Small images of noise as records of both modalities, and ways to break them and to hear of it."""

import numpy as np
from PIL import Image

from crossreid.data.records import INFRARED, VISIBLE, DataError, Record

IDENTITIES, EACH = 4, 3


def noise_records(folder):
    """Four identities, three images of either modality, each image filled with noise of its own."""
    generator = np.random.default_rng(0)
    found = []
    for identity in range(IDENTITIES):
        for camera, kind in ((1, VISIBLE), (3, INFRARED)):
            for i in range(EACH):
                path = folder / f"{identity}_{kind.name.lower()}_{i}.png"
                Image.fromarray(generator.integers(0, 256, (40, 24, 3), dtype=np.uint8)).save(path)
                found.append(Record(path, f"id{identity}", camera, kind))
    return found


def spoil(records, *, identity, kind, count):
    """Make the first images of an identity and modality unreadable; their paths."""
    chosen = [r for r in records if r.identity == identity and r.modality == kind][:count]
    for record in chosen:
        record.path.write_bytes(record.path.read_bytes()[:200])
    return {str(record.path) for record in chosen}


def refusal_of(load):
    """What a DataError says; unlike `pytest.raises` it does not keep the error, whose frames hold the workers."""
    try:
        load()
    except DataError as error:
        return str(error)
    return "nothing was refused"
