"""The cost of clustering, and how well clusters agree with known identities: docs/clustering.md.

    OMP_NUM_THREADS=1 python benchmarks/clustering.py scale --json benchmarks/results/clustering_scale_cpu.json
    OMP_NUM_THREADS=1 python benchmarks/clustering.py accuracy TITLE=EMBEDDINGS ... --json benchmarks/results/clustering_cpu.json

`scale`: random people as in benchmarks/search.py, 20 images each, 256 dimensions; each row in its own process, from
embeddings in memory to the folder on disk, without pictures. It reports seconds of processor time (and of the clock,
which other work on the machine stretches) for sorting, clustering, and writing with the search for near-duplicates; and
the peak memory of the process.

`accuracy`: in each folder of embeddings, every second identity is used to choose the threshold (or `min_samples` of
HDBSCAN) with the highest ARI. The others, which took no part in that, are clustered by themselves and scored. With weak
embeddings, BCubed F would choose one large cluster and many of one crop.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.clustering.cluster_crops import Clustering, ClusterOptions, cluster_crops
from crossreid.clustering.crops import Crops, crops_of_embeddings, crops_of_folder
from crossreid.clustering.thresholds import pairs_of, stated, thresholds_of
from crossreid.clustering.written import WriteOptions, write_clustering
from crossreid.evaluation.embedding_files import Embeddings
from crossreid.files import read_json, write_json

sys.path.append(str(Path(__file__).resolve().parent))  # for machine.py, also where this file is run from elsewhere

DIMENSION, IMAGES, NOISE = 256, 20, 0.8
THRESHOLD = 0.42  # of drawn people: two images of one have a cosine of about 0.6, of two hardly ever more than 0.3
WAYS = {
    "components": ClusterOptions(),
    "average linkage": ClusterOptions(method="agglomerative"),
    "complete linkage": ClusterOptions(method="agglomerative", linkage="complete"),
    "HDBSCAN": ClusterOptions(method="hdbscan"),
}
SAMPLES = (1, 2, 3, 5, 8)
STEPS = 20  # thresholds that are tried


def drawn(count: int) -> Embeddings:
    """Embeddings of people that are drawn, in an order that is not that of their names."""
    rng = np.random.default_rng(0)
    people = max(1, count // IMAGES)
    centres = rng.standard_normal((people, DIMENSION), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    who = np.arange(count) % people
    rows = np.empty((count, DIMENSION), np.float32)
    for start in range(0, count, 16_384):
        part = who[start : start + 16_384]
        noise = rng.standard_normal((len(part), DIMENSION), dtype=np.float32)
        rows[start : start + len(part)] = centres[part] + NOISE / np.sqrt(DIMENSION) * noise
    order = rng.permutation(count)
    nothing = np.full(count, None, dtype=object)
    return Embeddings(
        embeddings=rows, paths=np.array([f"{number:08}.jpg" for number in order]),
        identities=np.array([f"p{person}" for person in who], dtype=object), cameras=np.zeros(count, np.int64),
        modalities=np.zeros(count, np.int64), times=np.full(count, np.nan), tracklets=nothing,
        frames=np.full(count, -1), boxes=nothing, fingerprint="drawn", about={},
    )  # fmt: skip


def measure(count: int, way: str) -> dict[str, Any]:
    """Seconds and memory of one clustering, in this process."""
    found = drawn(count)
    moments = [(time.perf_counter(), time.process_time())]
    crops = crops_of_embeddings(found)
    del found
    moments.append((time.perf_counter(), time.process_time()))
    options = WAYS[way]
    thresholds = None
    if options.method != "hdbscan":
        thresholds = thresholds_of(pairs_of(crops.modalities), stated([str(THRESHOLD)]))
    clustering = cluster_crops(crops, thresholds, options)
    moments.append((time.perf_counter(), time.process_time()))
    with tempfile.TemporaryDirectory() as folder:
        write_clustering(Path(folder) / "out", crops, clustering, WriteOptions(pictures=False))
    moments.append((time.perf_counter(), time.process_time()))
    scores = clustering.scores
    assert scores is not None
    wall, processor = (np.diff([moment[kind] for moment in moments]).round(1).tolist() for kind in (0, 1))
    return {
        "crops": count, "method": way, "clusters": len(clustering.sizes), "identities": scores.identities,
        "bcubed_precision": scores.bcubed_precision, "bcubed_recall": scores.bcubed_recall, "bcubed_f": scores.bcubed_f,
        "wall_seconds": wall, "processor_seconds": processor, "links": clustering.links,
        "gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }  # fmt: skip


def halves(crops: Crops) -> tuple[Crops, Crops]:
    """Crops of every second identity, by name, and those of the others."""
    names = sorted({name for name in crops.identities if name is not None})
    chosen = set(names[::2])
    rows = [np.flatnonzero([(name in chosen) == side for name in crops.identities]) for side in (True, False)]
    return part_of(crops, rows[0]), part_of(crops, rows[1])


def part_of(crops: Crops, rows: np.ndarray) -> Crops:
    """Crops of those rows, ascending."""
    values: dict[str, Any] = {}
    for name in ("embeddings", "cameras", "modalities", "times", "frames"):
        values[name] = getattr(crops, name)[rows]
    for name in ("ids", "paths", "boxes", "identities", "tracklets"):
        values[name] = [getattr(crops, name)[row] for row in rows.tolist()]
    return replace(crops, **values)


def clustered(crops: Crops, options: ClusterOptions, value: float) -> Clustering:
    """By that threshold, or by that `min_samples` of HDBSCAN."""
    if options.method == "hdbscan":
        return cluster_crops(crops, None, replace(options, min_samples=int(value)))
    return cluster_crops(crops, thresholds_of(pairs_of(crops.modalities), stated([str(value)])), options)


def tried(crops: Crops, options: ClusterOptions) -> list[float]:
    """The values to choose from: cosines from where few pairs are linked to where most of those of one identity are."""
    if options.method == "hdbscan":
        return list(SAMPLES)
    names = np.unique([str(name) for name in crops.identities], return_inverse=True)[1].reshape(-1)
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, len(crops), (2, 200_000))
    cosines = (crops.embeddings[one] * crops.embeddings[other]).sum(axis=1)
    same = (names[one] == names[other]) & (one != other)
    low, high = float(np.quantile(cosines[same], 0.1)), float(max(cosines[same].max(), np.quantile(cosines, 0.999)))
    return [round(float(value), 4) for value in np.linspace(low, min(high, 0.9999), STEPS)]


def accuracy(title: str, crops: Crops) -> list[dict[str, Any]]:
    """A row a method."""
    choosing, scored = halves(crops)
    rows = []
    for way, options in WAYS.items():
        tests = [(clustered(choosing, options, value), value) for value in tried(choosing, options)]
        _, value = max(tests, key=lambda test: test[0].scores.ari if test[0].scores else 0.0)
        found = clustered(scored, options, value)
        assert found.scores is not None
        rows.append(
            {
                "title": title, "method": way, "chosen": value, "crops": len(scored), "singletons": int((found.sizes == 1).sum()),
                "apart": len(found.nodes.apart), "tracklets": len(scored) - len(found.nodes), **found.scores.to_json(),
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def markdown_of_accuracy(held: dict[str, Any]) -> str:
    """The table of the page."""
    lines = [
        "| embeddings | method | chosen | crops | identities | clusters | of one crop | ARI | AMI | BCubed P / R / F | "
        "pairwise P / R / F |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in held["rows"]:
        figures = [
            " / ".join(f"{100 * row[f'{kind}_{name}']:.1f}" for name in ("precision", "recall", "f"))
            for kind in ("bcubed", "pairwise")
        ]
        ami = "–" if row["ami"] is None else f"{100 * row['ami']:.1f}"
        lines.append(
            f"| {row['title']} | {row['method']} | {row['chosen']:g} | {row['crops']:,} | {row['identities']} | {row['clusters']:,} | "
            f"{row['singletons']:,} | {100 * row['ari']:.1f} | {ami} | {figures[0]} | {figures[1]} |"
        )
    return "\n".join(lines) + "\n"


def markdown_of_scale(held: dict[str, Any]) -> str:
    """The table of the page."""
    lines = [
        "| crops | method | processor seconds | sorting, clustering, writing | GiB | identities | clusters | BCubed P / R / F |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in held["rows"]:
        figures = " / ".join(f"{100 * row[f'bcubed_{name}']:.1f}" for name in ("precision", "recall", "f"))
        lines.append(
            f"| {row['crops']:,} | {row['method']} | {sum(row['processor_seconds']):.0f} | "
            f"{', '.join(f'{part:.0f}' for part in row['processor_seconds'])} | {row['gib']:.1f} | "
            f"{row['identities']:,} | {row['clusters']:,} | {figures} |"
        )
    return "\n".join(lines) + "\n"


def scale(counts: Sequence[int], ways: Sequence[str]) -> list[dict[str, Any]]:
    """A row of each count and method, each measured in a process of its own."""
    rows = []
    for count in counts:
        for way in ways:
            command = [sys.executable, __file__, "one", str(count), way]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append(json.loads(told.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    from machine import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    large = parts.add_parser("scale")
    large.add_argument("--crops", type=int, nargs="+", default=[10_000, 200_000])
    large.add_argument("--methods", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME")
    known = parts.add_parser("accuracy")
    known.add_argument("embeddings", nargs="+", metavar="TITLE=EMBEDDINGS")
    for each in (large, known):
        each.add_argument("--json", type=Path)
        each.add_argument("--keep", action="store_true", help="keep the rows of the file that are not measured again")
    one = parts.add_parser("one")
    one.add_argument("count", type=int)
    one.add_argument("way", choices=WAYS)
    given = parser.parse_args(arguments)
    if given.part == "one":
        print(json.dumps(measure(given.count, given.way)))
        return
    keys = ("crops", "method") if given.part == "scale" else ("title", "method")
    if given.part == "scale":
        rows = scale(given.crops, given.methods)
    else:
        pairs = [text.rsplit("=", 1) for text in given.embeddings]
        rows = [row for title, folder in pairs for row in accuracy(title, crops_of_folder(Path(folder)))]
    if given.keep and given.json and given.json.is_file():
        anew = {tuple(row[key] for key in keys) for row in rows}
        rows = [row for row in read_json(given.json)["rows"] if tuple(row[key] for key in keys) not in anew] + rows
    held = {"machine": machine(), "rows": rows}
    if given.json:
        write_json(given.json, held)
    print(markdown_of_scale(held) if given.part == "scale" else markdown_of_accuracy(held))


if __name__ == "__main__":
    main()
