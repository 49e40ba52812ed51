"""The trials of `endurance.py`: what each does, and when it counts as survived.

Processes are forks of this one, which has already imported torch, and run the real commands. Hostile files, small runs
and a service with rendered people come from the tests (`tests/support`).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

# What the commands import when they need it: here, once for all forks.
import lightning_fabric  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import timm  # noqa: F401
import torch
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import crossreid.reporting.plotting
import crossreid.runs.train  # noqa: F401
from crossreid.data.images import FORMATS
from crossreid.data.records import DataError
from crossreid.data.synthetic import synthesise
from crossreid.galleries import open_gallery
from crossreid.runs.recipe import make_recipe
from crossreid.service.decoders import Decoders
from crossreid.service.keys import add_key
from crossreid.training.checkpoint import load_checkpoint
from forked import Forked, command
from hostile_images import COSTLY, TALKATIVE
from served import make_place, search, served
from writer import DIMENSION, MODEL, entries, names

SECONDS, LONGER = 20.0, 60.0  # for a file and for a command; what takes longer is not survived


class Trials:
    """One kind of trial, prepared in a folder. `attempt` yields of each that it made None, or what was lost."""

    what: ClassVar[str]
    held: ClassVar[str]
    share: ClassVar[float]  # of the time

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw, self.number = folder, draw, 0

    def attempt(self, seconds: float) -> Iterable[str | None]:
        raise NotImplementedError

    def close(self) -> None:
        """End what was started."""

    def fresh(self) -> Path:
        """A path that is free."""
        self.number += 1
        return self.folder / f"trial-{self.number}"


def recipe_of(world: Path) -> Any:
    """A run of seconds: a small network, 2 epochs, a checkpoint every third step."""
    data = {
        "name": "manifest", "root": str(world), "height": 32, "width": 16, "workers": 0,
        "sampler": {"identities": 2, "images": 2},
    }  # fmt: skip
    network = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    training = {"epochs": 2, "checkpoint_steps": 3, "precision": "32-true"}
    return make_recipe({"data": data, "method": network, "training": training})


class KilledTraining(Trials):
    what = "training killed at any moment, up to four times, and resumed"
    held = "every weight and every logged loss is that of the run that nobody killed, to the last bit"
    share = 0.35

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        synthesise(folder / "world", "manifest", 8, 0, images_per_camera=2, size=(32, 16), workers=1)
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(recipe_of(folder / "world").as_yaml(), encoding="utf-8")
        began = time.monotonic()
        self.train(folder / "whole").wait(600)
        self.seconds = time.monotonic() - began
        self.whole = facts_of(folder / "whole")

    def train(self, out: Path) -> Forked:
        return Forked(command, "train", str(self.recipe), "--out", str(out), log=f"{out}.log")

    def attempt(self, seconds: float) -> Iterable[str | None]:
        out = self.fresh()
        for _ in range(self.draw.randrange(1, 5)):
            running = self.train(out)
            time.sleep(self.draw.uniform(0, self.seconds))
            with contextlib.suppress(ProcessLookupError):
                running.send_signal(signal.SIGKILL)
            running.wait()
        if status := self.train(out).wait(600):
            yield f"resuming ended with status {status}: {Path(f'{out}.log').read_text()[-300:]}"
        else:
            yield None if facts_of(out) == self.whole else "weights or losses differ from those of the whole run"


def facts_of(run: Path) -> tuple[dict[str, bytes], list[tuple[int, dict[str, float]]]]:
    """The bytes of all weights of a run's last checkpoint, and its losses by step."""
    stored = load_checkpoint(run / "last.safetensors")
    weights = {name: tensor.numpy().tobytes() for name, tensor in stored.tensors["model"].items()}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return weights, [(row["step"], row["losses"]) for row in rows if "losses" in row]


class KilledGallery(Trials):
    what = "a gallery killed while entries are added"
    held = "all entries of which it was said that they are kept are there and found, and no batch is there in part"
    share = 0.1

    def attempt(self, seconds: float) -> Iterable[str | None]:
        where = self.fresh()
        told = Path(f"{where}.told")
        adding = Forked(_add_for_ever, where, log=str(told))
        deadline = time.monotonic() + 60
        while not (told.is_file() and told.read_text()) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(self.draw.uniform(0, 0.4))
        adding.send_signal(signal.SIGKILL)
        adding.wait()
        last = int(([0] + [int(line) for line in told.read_text().split() if line.isdecimal()])[-1])
        with open_gallery(where, model=MODEL) as gallery:
            lost = [number for number in range(1, last + 1) if None in gallery.get(names(number))]
            after = [entry is not None for entry in gallery.get(names(last + 1))]
            found = not last or gallery.search(entries(last).embeddings[:1], 1)[0].ids[0] == names(last)[0]
        if lost:
            yield f"batches {lost} are gone"
        elif any(after) != all(after):
            yield "a part of a batch is there"
        else:
            yield None if found else "an entry is there and not found"


def _add_for_ever(where: Path) -> None:
    gallery = open_gallery(where, model=MODEL, dimension=DIMENSION)
    for number in range(1, 10**6):
        gallery.add(entries(number))
        print(number, flush=True)


class DamagedImages(Trials):
    what = "an image file with bytes changed, cut out, doubled or made for nothing"
    held = f"decoded, or refused by name within {SECONDS:g} s"
    share = 0.15

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        picture = Image.effect_noise((96, 64), 60).convert("RGB")
        self.files = [*TALKATIVE.values(), *(make() for make, _ in COSTLY.values())]
        for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"):
            for options in ({}, {"progressive": True}, {"compression": "tiff_deflate"}):
                stream = io.BytesIO()
                picture.save(stream, format, **options)
                self.files.append(stream.getvalue())
        self.decoders = Decoders(SECONDS / 3)

    def attempt(self, seconds: float) -> Iterable[str | None]:
        content = damaged(self.draw.choice(self.files), self.draw)
        began = time.monotonic()
        try:
            pixels = self.decoders.decode(content, "x", at_least=None, most=16_000_000, formats=FORMATS)
            wrong = None if pixels.ndim == 3 and pixels.shape[2] == 3 else f"pixels of shape {pixels.shape}"
        except DataError as error:
            wrong = f"{error}" if "crashed on it" in str(error) else None
        took = time.monotonic() - began
        yield wrong if took < SECONDS else f"it took {took:.0f} s"

    def close(self) -> None:
        self.decoders.close()


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The same with up to eight changes; now and then none."""
    changed = bytearray(content)
    for _ in range(draw.randrange(9)):
        at = draw.randrange(len(changed)) if changed else 0
        kind = draw.randrange(4)
        if kind == 0 and changed:
            changed[at] = draw.randrange(256)
        elif kind == 1:
            del changed[at : at + draw.randrange(1, 1 + max(1, len(changed) // 4))]
        elif kind == 2:
            changed[at:at] = changed[at : at + draw.randrange(64)]
        else:
            changed[at:at] = bytes([draw.choice(b'\xff\0\n,:{}[]"#&*-')]) * draw.choice((1, 2, 3, 5000))
    return bytes(changed)


class DamagedFiles(Trials):
    what = "a manifest, a recipe or a run's log damaged likewise, and a command that reads it"
    held = f"the command does its work or names what is wrong in words within {LONGER:g} s; none ends in a traceback"
    share = 0.2

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        world, run, recipe = folder / "world", folder / "run", folder / "recipe.yaml"
        synthesise(world, "manifest", 6, 0, images_per_camera=1, size=(32, 16), workers=1)
        recipe.write_text(recipe_of(world).as_yaml(), encoding="utf-8")
        Forked(command, "train", str(recipe), "--out", str(run), log=f"{run}.log").wait(600)
        self.cases = [
            (world / "manifest.csv", ("check", "manifest", str(world))),
            (recipe, ("recipe", str(recipe))),
            (run / "metrics.jsonl", ("plot", str(run), "--out", str(folder / "figures"))),
            (run / "recipe.yaml", ("plot", str(run), "--out", str(folder / "figures"))),
        ]

    def attempt(self, seconds: float) -> Iterable[str | None]:
        path, words = self.draw.choice(self.cases)
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, self.draw))
        log = self.folder / "log"
        running = Forked(command, *words, log=str(log))
        try:
            status = running.wait(LONGER)
            told = log.read_text(errors="replace")
            bug = (
                status not in (0, 1, 2) or "bug in the program" in told
            )  # 1 is also that of problems that `check` found
            yield f"{words[0]} of a damaged {path.name}: status {status}: {told[-300:]}" if bug else None
        except AssertionError:
            running.send_signal(signal.SIGKILL)
            running.wait()
            yield f"{words[0]} of a damaged {path.name} took longer than {LONGER:g} s"
        finally:
            path.write_bytes(whole)


class HostileRequests(Trials):
    what = "a service under load: slow, ambiguous and random requests and hostile files of one key, searches of another"
    held = (
        "the search is answered with the image itself, the other is refused or cut off, nothing is written into the log"
    )
    share = 0.2

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(folder, draw)
        self.stack = contextlib.ExitStack()
        place = make_place(folder / "place")
        self.keys = {name: add_key(folder / "keys.json", name, ["search"]) for name in ("honest", "hostile")}
        self.running = self.stack.enter_context(
            served(place, folder / "state", keys=folder / "keys.json", in_flight=32, seconds=2)
        )
        self.log = _Log()
        logging.getLogger().addHandler(self.log)
        self.place, self.entries = place, len(self.running.service.gallery)

    def attempt(self, seconds: float) -> Iterable[str | None]:
        """Some seconds of hostile clients beside an honest one; each request of either is a trial."""
        results: list[str | None] = []
        end = time.monotonic() + max(1.0, min(seconds, 5.0))
        clients = [threading.Thread(target=self._hostile, args=(results, end, seed)) for seed in range(4)]
        for client in clients:
            client.start()
        while time.monotonic() < end:
            results.append(self._honest())
        for client in clients:
            client.join()
        results.extend(f"the log says: {line}" for line in self.log.taken())
        if len(self.running.service.gallery) != self.entries:
            results.append("entries are gone")
        yield from results

    def _honest(self) -> str | None:
        path = self.draw.choice(self.place.images)
        modality = "infrared" if path.stem.startswith(("c3", "c6")) else "visible"
        with self.running.client(self.keys["honest"]) as client:
            answer = search(client, path.read_bytes(), modality=modality)
        if answer.status_code != 200:
            return f"an honest search is answered {answer.status_code}: {answer.text[:200]}"
        best = answer.json()["matches"][0]["entry"]["id"]
        return None if best == str(path) else f"{path.name} finds {best} first"

    def _hostile(self, results: list[str | None], end: float, seed: int) -> None:
        draw = random.Random(f"{self.number} {seed} {time.monotonic()}")
        kinds = (self._file, self._bytes, self._bytes, self._slow)
        while time.monotonic() < end:
            try:
                results.append(draw.choice(kinds)(draw))
            except OSError:  # cut off
                results.append(None)

    def _file(self, draw: random.Random) -> str | None:
        files = [*TALKATIVE.values(), COSTLY["fill after the first marker"][0](), COSTLY["strips"][0]()]
        with self.running.client(self.keys["hostile"]) as client:
            status = search(client, damaged(draw.choice(files), draw)).status_code
        return None if status == 200 or 400 <= status < 500 else f"a hostile file is answered {status}"

    def _bytes(self, draw: random.Random) -> str | None:
        head = f"POST /v1/search/ids HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.keys['hostile']}\r\n"
        more = draw.choice(("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "A: b\r\n c\r\n", "A: b\n", ""))
        with self._connected() as connection:
            connection.sendall(damaged(f"{head}{more}\r\n0\r\n\r\n".encode(), draw)[:60_000])
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65_536)
                if answer.startswith(b"HTTP/1.1 5"):
                    return f"bytes are answered {answer[:40]!r}"
        return None

    def _slow(self, draw: random.Random) -> str | None:
        head = f"POST /v1/search/ids HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.keys['hostile']}\r\n"
        connections = [self._connected() for _ in range(20)]
        for connection in connections:
            connection.sendall(f"{head}Content-Length: 100\r\n\r\n".encode())
        time.sleep(draw.uniform(0, 0.5))
        for connection in connections:
            connection.close()
        return None

    def _connected(self) -> socket.socket:
        host, port = self.running.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=10)

    def close(self) -> None:
        logging.getLogger().removeHandler(self.log)
        self.stack.close()


class _Log(logging.Handler):
    """What the service, or the server below it, writes into the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage()[:200])

    def taken(self) -> Iterator[str]:
        lines, self._lines = self._lines, []
        return iter(lines)


# The service last: it has threads, and processes with threads are not forked.
TRIALS = (KilledTraining, KilledGallery, DamagedImages, DamagedFiles, HostileRequests)
torch.set_num_threads(1)
