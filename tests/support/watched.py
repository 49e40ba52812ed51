"""The folder of a watch, as `crossreid watch` leaves it: four rendered people walk past three cameras; two are known by name."""

import csv

import numpy as np

from crossreid.data.images import load_image
from crossreid.data.records import INFRARED, VISIBLE
from crossreid.galleries import open_gallery
from crossreid.galleries.entries import Entries
from crossreid.watching.cameras import Camera
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.posterior import by_threshold
from crossreid.watching.identities.state import open_state
from crossreid.watching.tracklets import KeyFrame, Tracklet

CAMERAS = ("gate", "yard", "hall-2")
START = 1_795_255_200.0  # 2026-11-21T10:00:00Z
NAMED = {0: "Zoë <b>Ångström</b>", 1: "=2+2"}
_WALKS = {  # who: camera, seconds after the start, how long, by night
    0: [("gate", 0, 20, False), ("yard", 60, 45, False), ("hall-2", 150, 30, False), ("gate", 400, 25, True)],
    1: [("gate", 12, 30, False), ("yard", 90, 20, False), ("yard", 260, 40, True)],
    2: [("hall-2", 30, 60, False), ("yard", 200, 35, False), ("gate", 330, 15, True)],
    3: [("yard", 300, 80, True), ("hall-2", 430, 40, True)],
}


def crops(world):
    """Images of the people of a rendered world, by person and by whether it is night."""
    with (world / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    people = list(dict.fromkeys(row["identity"] for row in rows))
    return {
        (people.index(row["identity"]), row["modality"] == "infrared"): load_image(world / row["path"])
        for row in reversed(rows)
    }


def tracklet(camera, track, first, seconds, embedding, night=False, crop=None, finished=True):
    """A track of someone who walks from left to right, two frames per second."""
    times = START + first + np.arange(0, seconds + 0.25, 0.5)
    indexes = np.round((times - START) * 2).astype(np.int64)
    left = np.linspace(10, 200, len(times), dtype=np.float32)
    boxes = np.stack([left, np.full_like(left, 40), left + 32, np.full_like(left, 104)], axis=1)
    image = np.full((64, 32, 3), 90, np.uint8) if crop is None else np.asarray(crop)
    places = [0, len(times) // 2, len(times) - 1]
    key_frames = tuple(
        KeyFrame(int(indexes[at]), float(times[at]), boxes[at], image, 0.5 + at / 1000) for at in dict.fromkeys(places)
    )
    modality = INFRARED if night else VISIBLE
    return Tracklet(camera, track, modality, indexes, times, boxes, key_frames, embedding, finished)


def faces(count=4, dimension=16):
    """Embeddings `(count, dimension)` that nobody takes for each other."""
    return np.eye(count, dimension, dtype=np.float32)


def make_watch(folder, world, *, images=True):
    """Watch into a folder. Returns nothing; the state is closed, and so nobody watches any more."""
    every, pictures = faces(), crops(world)
    gallery = open_gallery(folder.with_name(f"{folder.name}-gallery"), model="m", dimension=16)
    gallery.add(Entries(every[list(NAMED)], ids=["a", "b"], identities=list(NAMED.values()), modalities=[0, 0]))
    tracks = sorted(
        (first, who, camera, seconds, night) for who, walk in _WALKS.items() for camera, first, seconds, night in walk
    )
    with open_state(folder, keep_images=images) as state, gallery:
        state.note_cameras([Camera(name, number, f"{name}.mp4") for number, name in enumerate(CAMERAS, 1)])
        watching = Identities(state, by_threshold(0.5), gallery=gallery)
        for first, who, camera, seconds, night in tracks:
            for name in CAMERAS:
                watching.advance(name, START + first)
            number = state.next_track(camera)
            watching.observe(tracklet(camera, number, first, seconds, every[who], night, pictures[who, night]))
        for name in CAMERAS[1:]:
            watching.ended(name)
    return folder
