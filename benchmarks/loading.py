"""Images per second of the training loader, against bare decoding of the same files in as many processes.

    python benchmarks/loading.py --workers 2 [--root FOLDER] [--json FILE]

Bare decoding opens each file with Pillow and converts it to an array of RGB values; the loader also resizes, augments,
normalises, collates and passes batches to the training process. It reads files (`none`), a cache on disk and one in
memory (`data.cache`). All of them read the same files in the same order, alternating in one run; the medians are
compared. It also measures:

* decoders in one process: Pillow, `crossreid`'s own choice, and simplejpeg, torchvision's and OpenCV's if installed,
  with the largest difference of a pixel;
* the share of loading an image that the guards against hostile files take (`data.costly_files`, `data.deadline`);
* the share of training time spent waiting for data, with each kind of cache: a step of a small network on the loader's
  batches, against one that always gets the same batch, which is the network alone.

Without --root, photograph-like JPEGs are generated.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from crossreid.data.costly_files import costly
from crossreid.data.data_options import DataOptions
from crossreid.data.deadline import deadline
from crossreid.data.images import MAX_PIXELS, SECONDS, load_image
from crossreid.data.quick_jpeg import ordinary
from crossreid.data.records import INFRARED, VISIBLE, Record
from crossreid.data.training_loading import TrainLoader
from crossreid.files import write_json
from crossreid.methods.baseline import BaselineOptions
from crossreid.methods.building import build_method
from machine import machine

CACHES = ("none", "disk", "memory")
EACH = 8


def make_images(root: Path, count: int, height: int, width: int) -> list[Path]:
    """`count` JPEGs of blurred noise, about as hard to decode as photographs of that size."""
    generator = np.random.default_rng(0)
    paths = [root / f"{i:05d}.jpg" for i in range(count)]
    for path in paths:
        noise = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(1.5)).save(path, quality=90)
    return paths


def decode(path: str) -> int:
    with Image.open(path) as image:
        return int(np.asarray(image.convert("RGB")).shape[0])


def decode_all(paths: Sequence[str], pool: Any) -> float:
    """Seconds to decode the files, in this process or in a pool's."""
    start = time.perf_counter()
    for _ in map(decode, paths) if pool is None else pool.imap_unordered(decode, paths, chunksize=16):
        pass
    return time.perf_counter() - start


def guards_percent(paths: Sequence[Path], repeats: int) -> float:
    """What is spent on refusing hostile files before and while an image is decoded, of all that loading it takes, percent."""
    contents = [path.read_bytes() for path in paths]
    shares = []
    for _ in range(repeats):
        start = time.perf_counter()
        for content in contents:
            costly(content, MAX_PIXELS)
            if ordinary(content) is None:  # else it is bounded by its size
                with deadline(SECONDS):
                    pass
        guarded = time.perf_counter() - start
        start = time.perf_counter()
        for path in paths:
            load_image(path)
        shares.append(100 * guarded / (time.perf_counter() - start))
    return median(shares)


def decoders() -> dict[str, Callable[[bytes], np.ndarray]]:
    """What decodes the bytes of a JPEG to `(H, W, 3)`, by its name: those that are installed."""
    found: dict[str, Callable[[bytes], np.ndarray]] = {"pillow": by_pillow}
    try:
        import simplejpeg

        found["simplejpeg"] = lambda content: simplejpeg.decode_jpeg(content, "RGB")
    except ImportError:
        pass
    try:
        from torchvision.io import decode_jpeg

        found["torchvision"] = lambda content: (
            decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8)).permute(1, 2, 0).numpy()
        )
    except ImportError:
        pass
    try:
        import cv2

        found["opencv"] = lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except ImportError:
        pass
    return found


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def decoders_compared(paths: Sequence[Path], repeats: int) -> dict[str, dict[str, float]]:
    """Images per second of each decoder in one process, relative to Pillow, and the largest difference from its pixels."""
    contents = [path.read_bytes() for path in paths if path.suffix.lower() in (".jpg", ".jpeg")][:200]
    if not contents:
        return {}
    ways: dict[str, Callable[[Any], np.ndarray]] = dict(decoders())
    loading = {"pillow, of files": decode_array, "crossreid, of files": load_image}
    files = [path for path in paths if path.suffix.lower() in (".jpg", ".jpeg")][:200]
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, *loading)}
    for _ in range(repeats):
        for name, way in {**ways, **loading}.items():
            given = files if name in loading else contents
            start = time.process_time()
            for one in given:
                way(one)
            seconds[name].append(time.process_time() - start)
    expected = [by_pillow(content).astype(int) for content in contents[:50]]
    rows = {}
    for name in seconds:
        way, given = ({**ways, **loading}[name], files if name in loading else contents)
        off = max(int(np.abs(way(one) - right).max()) for one, right in zip(given[:50], expected, strict=False))
        base = "pillow, of files" if name in loading else "pillow"
        rows[name] = {
            "images_per_second": len(given) / median(seconds[name]),
            "times_pillow": median(seconds[base]) / median(seconds[name]),
            "largest_difference": off,
        }
    return rows


def decode_array(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def measure(paths: Sequence[Path], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    kinds = (VISIBLE, INFRARED)
    records = [Record(path, str(i // EACH), 1, kinds[i % 2]) for i, path in enumerate(paths)]

    def options_of(cache: str) -> DataOptions:
        return DataOptions(
            name="manifest",
            root=paths[0].parent,
            height=arguments.height,
            width=arguments.width,
            workers=arguments.workers,
            cache=cache,
            cache_folder=folder / "cache",
            augment={"flip": 0.5, "pad": 10, "erasing": 0.5},
            sampler={"identities": 8, "images": 8},
        )

    loaders = {cache: TrainLoader(records, options_of(cache), seed=0) for cache in CACHES}
    building = {}
    for cache, loader in loaders.items():
        start = time.perf_counter()
        loader.prepare()
        building[cache] = time.perf_counter() - start
    order = [str(paths[i]) for batch in loaders["none"].sampler.epoch(0) for i in batch]
    loaded: dict[str, list[float]] = {cache: [] for cache in CACHES}
    decoded: list[float] = []
    with multiprocessing.Pool(arguments.workers) if arguments.workers else _Here() as pool:
        for repeat in range(arguments.repeats + 1):  # the first, which starts the workers, is not counted
            for cache, loader in loaders.items():
                start = time.perf_counter()
                count = sum(len(batch.labels) for batch in loader(0))
                if repeat:
                    loaded[cache].append(count / (time.perf_counter() - start))
            seconds = decode_all(order, pool)
            if repeat:
                decoded.append(len(order) / seconds)
    bare = median(decoded)
    return {
        "decoding_images_per_second": bare,
        "loader_images_per_second": median(loaded["none"]),
        "loader_percent_of_decoding": 100 * median(loaded["none"]) / bare,
        "caches": {
            cache: {
                "images_per_second": median(loaded[cache]),
                "percent_of_decoding": 100 * median(loaded[cache]) / bare,
                "times_none": median(loaded[cache]) / median(loaded["none"]),
                "seconds_to_build": building[cache],
            }
            for cache in CACHES
        },
        "training": training_by_cache(loaders, arguments),
        "decoders": decoders_compared(paths, arguments.repeats),
        "guards_percent_of_loading": guards_percent(paths, arguments.repeats),
        "images": len(order),
        "settings": {key: str(value) for key, value in vars(arguments).items() if key != "json"},
        "machine": machine(),
    }


def training_by_cache(loaders: dict[str, TrainLoader], arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Images per second of a small training, and the percentage of time that the loop waited for a batch."""
    torch.set_num_threads(arguments.threads)
    options = BaselineOptions(name="baseline", backbone={"name": arguments.network, "weights": "none"})
    method = build_method(options, loaders["none"].classes)
    optimiser = torch.optim.SGD(method.parameters(), lr=1e-3)
    found: dict[str, dict[str, list[float]]] = {name: {"rate": [], "waited": []} for name in ("network alone", *CACHES)}
    one = next(loaders["none"](0))
    for _ in range(arguments.rounds):
        for name, rows in found.items():
            steps = min(arguments.steps, len(loaders["none"]))
            batches = iter([one] * steps) if name == "network alone" else loaders[name](1)
            begun, waited, images = time.perf_counter(), 0.0, 0
            for _ in range(steps):
                start = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - start
                sum(method.losses(batch).values()).backward()
                optimiser.step()
                optimiser.zero_grad()
                images += len(batch.labels)
            taken = time.perf_counter() - begun
            rows["rate"].append(images / taken)
            rows["waited"].append(100 * waited / taken)
    alone = median(found["network alone"]["rate"])
    return {
        name: {
            "images_per_second": median(rows["rate"]),
            "percent_of_network_alone": 100 * median(rows["rate"]) / alone,
            "percent_waiting": median(rows["waited"]),
        }
        for name, rows in found.items()
    }


class _Here:
    """Stands for a pool where there is none: this process does the work."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of images to read instead of generated ones")
    parser.add_argument("--count", type=int, default=512, help="number of images; with --root, at most this many")
    parser.add_argument("--file-height", type=int, default=256, help="height of generated images")
    parser.add_argument("--file-width", type=int, default=128, help="width of generated images")
    parser.add_argument("--height", type=int, default=256, help="height of network input")
    parser.add_argument("--width", type=int, default=128, help="width of network input")
    parser.add_argument("--workers", type=int, default=2, help="processes on each side; 0 to use only this one")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes over the images")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of the small training with each kind of cache")
    parser.add_argument("--steps", type=int, default=4, help="maximum number of steps of such an epoch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the network")
    parser.add_argument("--network", default="test_resnet", help="backbone of the small training")
    parser.add_argument(
        "--json", type=Path, help="also write the numbers to this file, for example under benchmarks/results/"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if arguments.root:
            found = sorted(
                path for path in arguments.root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
            )
            paths = found[: arguments.count]
        else:
            paths = make_images(folder, arguments.count, arguments.file_height, arguments.file_width)
        result = measure(paths, arguments, folder)
    for table in tables(result, arguments.workers):
        Console().print(table)
    if arguments.json:
        write_json(arguments.json, result)


def tables(result: dict[str, Any], workers: int) -> list[Table]:
    loading = Table(
        "", "images per second", "of bare decoding", "built in", title=f"{result['images']} images, {workers} processes"
    )
    loading.add_row("bare decoding", f"{result['decoding_images_per_second']:.0f}", "", "")
    for cache, row in result["caches"].items():
        built = f"{row['seconds_to_build']:.1f} s" if cache != "none" else ""
        loading.add_row(
            f"training loader, cache {cache}",
            f"{row['images_per_second']:.0f}",
            f"{row['percent_of_decoding']:.0f} %",
            built,
        )
    training = Table("a small training", "images per second", "of the network alone", "waiting for data")
    for name, row in result["training"].items():
        training.add_row(
            name,
            f"{row['images_per_second']:.0f}",
            f"{row['percent_of_network_alone']:.0f} %",
            f"{row['percent_waiting']:.1f} %",
        )
    decoding = Table("one process", "images per second", "times Pillow", "largest difference")
    for name, row in result["decoders"].items():
        decoding.add_row(
            name, f"{row['images_per_second']:.0f}", f"{row['times_pillow']:.2f}", f"{row['largest_difference']}"
        )
    decoding.caption = f"guards against hostile files: {result['guards_percent_of_loading']:.1f} % of loading an image"
    return [loading, training, decoding]


if __name__ == "__main__":
    main()
