"""People filmed as they walk: the frames of a tracklet share everything except what walking changes.

A tracklet has one light, zoom, blur and occluder; from frame to frame the legs swing, the person turns a little and the
background moves on. Cameras 1 to 6 are those of `cameras`; 13 and 16 are in the places of 3 and 6, in visible light.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossreid.data.records import Modality
from crossreid.data.synthetic.cameras import CAMERAS, Camera, Nuisance, nuisance
from crossreid.data.synthetic.people import Person
from crossreid.data.synthetic.people_images import render

FILMING: dict[int, Camera] = CAMERAS | {
    10 + number: replace(CAMERAS[number], number=10 + number, modality=Modality.VISIBLE, tint=tint)
    for number, tint in ((3, (1.02, 1.0, 0.98)), (6, (0.98, 1.02, 1.0)))
}
MOST_FRAMES = 1000


def index_of(tracklet: int, frame: int) -> int:
    """Return the number for a frame of a tracklet, both 0-based."""
    return tracklet * MOST_FRAMES + frame


def frame_of(
    person: Person, seed: int, identity: int, number: int, index: int, size: tuple[int, int]
) -> tuple[np.ndarray, Nuisance]:
    """Return one frame of a person's tracklet by camera `number`, and its nuisance factors, determined by these."""
    tracklet, frame = divmod(index, MOST_FRAMES)
    camera = FILMING[number]
    film = np.random.default_rng((seed, identity, number, tracklet, 21))
    first = nuisance(camera, film)
    turn, pace, drift = film.uniform(-9, 9), film.uniform(0.7, 1.1), film.uniform(1.5, 5)
    hidden_from, hidden_for = film.integers(0, 6), film.integers(3, 9)
    hidden = hidden_from <= frame % 16 < hidden_from + hidden_for
    own = np.random.default_rng((seed, identity, number, tracklet, frame, 22))
    seen = replace(
        first,
        heading=round(float(first.heading + turn * frame) % 360, 1),
        phase=round(float(first.phase + pace * frame) % (2 * np.pi), 3),
        shift_x=round(float(first.shift_x + own.normal(0, 0.02)), 4),
        shift_y=round(float(first.shift_y + own.normal(0, 0.008)), 4),
        light=round(float(first.light * own.uniform(0.97, 1.03)), 3),
        occlusion=first.occlusion if hidden else "none",
        backdrop=first.backdrop + int(drift * frame),
    )
    return render(person, camera, seen, own, size), seen
