"""Images a second of the training loader beside bare decoding of the same files in as many processes.

    python benchmarks/loading.py --workers 2 [--root FOLDER]

Bare decoding opens each file with Pillow and converts it to an array of RGB values; the loader also shrinks, augments,
normalises, joins and hands over to the training process. Both go over the same files in the same order, in turn, in
one run; the medians are compared. So is what the guards against hostile files take of loading an image in one process
(`data.costly_files`, `data.deadline`). Without --root, photograph-like JPEGs are made for the occasion.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from crossreid.data.costly_files import costly
from crossreid.data.data_options import DataOptions
from crossreid.data.deadline import deadline
from crossreid.data.images import MAX_PIXELS, SECONDS, load_image
from crossreid.data.records import INFRARED, VISIBLE, Record
from crossreid.data.training_loading import TrainLoader
from crossreid.files import write_json

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
            with deadline(SECONDS):
                pass
        guarded = time.perf_counter() - start
        start = time.perf_counter()
        for path in paths:
            load_image(path)
        shares.append(100 * guarded / (time.perf_counter() - start))
    return median(shares)


def measure(paths: Sequence[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    kinds = (VISIBLE, INFRARED)
    records = [Record(path, str(i // EACH), 1, kinds[i % 2]) for i, path in enumerate(paths)]
    options = DataOptions(
        name="manifest",
        root=paths[0].parent,
        height=arguments.height,
        width=arguments.width,
        workers=arguments.workers,
        augment={"flip": 0.5, "pad": 10, "erasing": 0.5},
        sampler={"identities": 8, "images": 8},
    )
    loader = TrainLoader(records, options, seed=0)
    order = [str(paths[i]) for batch in loader.sampler.epoch(0) for i in batch]
    loaded, decoded = [], []
    with multiprocessing.Pool(arguments.workers) if arguments.workers else _Here() as pool:
        for repeat in range(arguments.repeats + 1):  # the first, which starts the workers, is not counted
            start = time.perf_counter()
            count = sum(len(batch.labels) for batch in loader(0))
            if repeat:
                loaded.append(count / (time.perf_counter() - start))
                decoded.append(count / decode_all(order, pool))
            else:
                decode_all(order, pool)
    return {
        "loader_images_per_second": median(loaded),
        "decoding_images_per_second": median(decoded),
        "loader_percent_of_decoding": 100 * median(loaded) / median(decoded),
        "guards_percent_of_loading": guards_percent(paths, arguments.repeats),
        "images": len(order),
        "settings": {key: str(value) for key, value in vars(arguments).items() if key != "json"},
    }


class _Here:
    """Stands for a pool where there is none: this process does the work."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of images to read instead of made ones")
    parser.add_argument("--count", type=int, default=512, help="images, at most this many of --root")
    parser.add_argument("--file-height", type=int, default=256, help="height of made images")
    parser.add_argument("--file-width", type=int, default=128, help="width of made images")
    parser.add_argument("--height", type=int, default=256, help="height of network input")
    parser.add_argument("--width", type=int, default=128, help="width of network input")
    parser.add_argument("--workers", type=int, default=2, help="processes of either side; 0 for this one alone")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes over the images")
    parser.add_argument("--json", type=Path, help="also write the numbers here, for example under benchmarks/results/")
    arguments = parser.parse_args()
    if arguments.root:
        found = sorted(path for path in arguments.root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        result = measure(found[: arguments.count], arguments)
    else:
        with tempfile.TemporaryDirectory() as folder:
            paths = make_images(Path(folder), arguments.count, arguments.file_height, arguments.file_width)
            result = measure(paths, arguments)
    table = Table("", "images a second", title=f"{result['images']} images, {arguments.workers} processes")
    table.add_row("training loader", f"{result['loader_images_per_second']:.0f}")
    table.add_row("bare decoding", f"{result['decoding_images_per_second']:.0f}")
    table.add_row("loader, in percent of decoding", f"{result['loader_percent_of_decoding']:.0f} %")
    table.add_row(
        "guards against hostile files, in percent of loading an image", f"{result['guards_percent_of_loading']:.1f} %"
    )
    Console().print(table)
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
