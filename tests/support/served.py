"""The service as it runs: a small model, a gallery of rendered people, uvicorn on a port of its own in a thread."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from crossreid.data.synthetic import synthesise
from crossreid.galleries import add_folder, open_gallery, open_model
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.sources import source_records
from crossreid.service.app import create_app
from crossreid.service.attending import Explainer
from crossreid.service.keys import Keys
from crossreid.service.running import Where, server
from crossreid.service.service import Service
from crossreid.service.settings import Settings
from small_model import recipe_of, write_run


@dataclass(frozen=True)
class Place:
    """A run, a rendered world of four people and a gallery of its images."""

    run: Path
    world: Path
    gallery: Path

    @property
    def images(self):
        return sorted(self.world.glob("images/*/*.jpg"))


@dataclass(frozen=True)
class Served:
    url: str
    service: Service
    place: Place

    def client(self, key=None, **options):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **options)

    def audit(self):
        lines = []
        for path in sorted(self.service.audit.folder.glob("*.jsonl")):
            lines += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return lines


def make_place(folder, method="variational_distillation"):
    """What `crossreid train`, `synth`, `embed` and `gallery add` would leave."""
    place = Place(folder / "run", folder / "world", folder / "gallery")
    write_run(place.run, recipe_of(method))
    synthesise(place.world, "manifest", 4, 0, images_per_camera=2, size=(64, 32))
    model = open_model(place.run)
    records = source_records(str(place.world))
    embed_records(model, records, folder / "embeddings", precision="float32", workers=0)
    with open_gallery(place.gallery, model=model.fingerprint, dimension=model.dimension) as gallery:
        add_folder(gallery, folder / "embeddings")
    return place


@contextmanager
def served(place, state, *, keys=None, model=None, explain=True, **settings):
    """The service of a place, with what its operator decides in `settings`, until the block ends."""
    given = Settings(**{"images": (place.world,), "state": state, "rate": 0, "workers": 2, **settings})
    model = model or open_model(place.run)
    gallery = open_gallery(place.gallery, model=model.fingerprint)
    service = Service(model, gallery, given, Explainer(place.run, "best", None) if explain else None)
    try:
        with on_a_port(create_app(service, None if keys is None else Keys(keys)), given) as url:
            yield Served(url, service, place)
    finally:
        service.close()


def connected(running):
    """A bare connection to a service, for what no client would send."""
    host, port = running.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def within(condition, seconds=10):
    """Whether a condition comes true before that."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return met


@contextmanager
def on_a_port(app, settings):
    """The address of an application that uvicorn serves, on a port of its own, until the block ends."""
    running = server(app, Where(port=0), settings)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
