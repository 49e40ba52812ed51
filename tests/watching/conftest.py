"""What tests of whole watches share: a place with two films, their detections, a run, a gallery and the files of a page."""

import numpy as np
import pytest

from walking_people import HEIGHT, WIDTH, Walker, along, detections_of, film


def write_film(path, frames, rate=10):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode())


def write_detections(path, truth):
    rows = []
    for number, shown in enumerate(truth, start=1):
        for left, top, right, bottom in detections_of(shown).boxes:
            rows.append(f"{number},-1,{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f},0.9,-1,-1,-1")
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def two_films(tmp_path_factory):
    """A folder: gate.mp4 and yard.mp4, detections/, runs/mine, people, cameras.yaml, topology.yaml."""
    from crossreid.galleries.entries import Entries
    from crossreid.galleries.opening import open_gallery
    from crossreid.inference.open_model import open_model
    from small_model import recipe_of, write_run

    place = tmp_path_factory.mktemp("films")
    (place / "detections").mkdir()
    shots = {
        "gate": film([Walker(1, along(20, 220, 4)), Walker(3, along(220, 20, 4, feet=104), 270)], 4, camera="gate"),
        "yard": film([Walker(1, along(30, 200, 5)), Walker(6, along(200, 60, 5, feet=110), 270)], 5, camera="yard"),
    }
    for name, (frames, truth) in shots.items():
        write_film(place / f"{name}.mp4", frames)
        write_detections(place / "detections" / f"{name}.txt", truth)
    write_run(place / "runs" / "mine", recipe_of())
    model = open_model(place / "runs" / "mine", device="cpu")
    rows = np.random.default_rng(0).standard_normal((4, model.dimension)).astype(np.float32)
    with open_gallery(place / "people", model=model.fingerprint, dimension=model.dimension, create=True) as gallery:
        gallery.add(Entries(rows, identities=["ann", "ann", "bob", "eve"]))
    (place / "cameras.yaml").write_text(
        "cameras:\n  - {source: gate.mp4, modality: visible}\n  - {source: yard.mp4, modality: visible, offset: 2}\n"
    )
    (place / "topology.yaml").write_text(
        "cameras: [gate, yard]\nlinks:\n  - between: [gate, yard]\n    seconds: [1, 60]\n"
    )
    return place
