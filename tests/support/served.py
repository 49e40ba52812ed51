"""The service as it runs: a small model, a gallery of rendered people, uvicorn on a port of its own in a thread."""

import asyncio
import functools
import io
import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import torch
import uvicorn.server
from PIL import Image

from crossreid.data.images import load_image
from crossreid.data.synthetic import synthesise
from crossreid.galleries import add_folder, open_gallery
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.open_model import open_model
from crossreid.inference.sources import source_records
from crossreid.service.application import create_app
from crossreid.service.configuration import ServiceOptions
from crossreid.service.endpoint import Endpoint
from crossreid.service.explainer import Explainer
from crossreid.service.http_server import server
from crossreid.service.keys import Keys
from crossreid.service.search_service import SearchService
from small_model import recipe_of, write_run

# A client loads the certificates of all authorities, 25 ms, also for an address without TLS. Each request has a connection of its
# own, as of a command: of several workers, any may take it.
PLAIN = httpx.Client(verify=False, limits=httpx.Limits(max_keepalive_connections=0))


# uvicorn sleeps for a tenth of a second between two looks at whether it is to end, and twice or more as it ends.
uvicorn.server.asyncio = SimpleNamespace(**{**vars(asyncio), "sleep": lambda seconds: asyncio.sleep(seconds / 5)})

# To open the model is most of what a service takes to start, and services only read it.
opened = functools.lru_cache(maxsize=4)(open_model)


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
    service: SearchService
    place: Place

    def client(self, key=None, **options):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=False, **options)

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
    model = opened(place.run)
    records = source_records(str(place.world))
    embed_records(model, records, folder / "embeddings", precision="float32", workers=0)
    with open_gallery(place.gallery, model=model.fingerprint, dimension=model.dimension) as gallery:
        add_folder(gallery, folder / "embeddings")
    return place


@contextmanager
def served(place, state, *, keys=None, model=None, explain=True, watch=None, **options):
    """The service of a place, with what its operator decides in `options`, until the block ends."""
    given = ServiceOptions(**{"images": (place.world,), "state": state, "rate": 0, "decoders": 2, **options})
    model = model or opened(place.run)
    gallery = open_gallery(place.gallery, model=model.fingerprint)
    service = SearchService(model, gallery, given, Explainer(place.run, "best", None) if explain else None, watch)
    try:
        with on_a_port(create_app(service, None if keys is None else Keys(keys)), given) as url:
            yield Served(url, service, place)
    finally:
        service.close()


def embedded(running, paths, modality):
    """What the library makes of images: one embedding of each, and one of all together."""
    model = running.service.model
    size = (model.preprocessing.height, model.preprocessing.width)
    images = torch.stack([model.transform(load_image(path, at_least=size)) for path in paths])
    modalities = torch.full((len(paths),), modality)
    return model.embed(images, modalities).numpy(), model.embed_sets(images, modalities, [range(len(paths))]).numpy()


def files(paths, field="images"):
    """Images as a form's field of files."""
    return [(field, (path.name, path.read_bytes(), "image/jpeg")) for path in paths]


def ids_of(answer):
    """Ids of the matches of a search."""
    assert answer.status_code == 200, answer.text
    return [match["entry"]["id"] for match in answer.json()["matches"]]


def picture(format="PNG", size=(20, 40), mode="RGB"):
    """The bytes of an image file."""
    stream = io.BytesIO()
    Image.new(mode, size, 77).save(stream, format)
    return stream.getvalue()


def search(client, content, name="query.png", **data):
    """The answer to a search by an image."""
    return client.post("/v1/search/images", files=[("images", (name, content))], data=data)


def refusal(answer, status):
    """The message of a refusal of that status."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return error["message"]


def all_of(connection):
    """Status line and body of what comes until the service closes."""
    content = b""
    while part := connection.recv(65536):
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


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
def on_a_port(app, options):
    """The address of an application that uvicorn serves, on a port of its own, until the block ends."""
    running = server(app, Endpoint(port=0), options)
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
