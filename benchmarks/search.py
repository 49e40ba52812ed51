"""The cost of searching a large gallery, against a NumPy scan in the same run: latency, recall, memory, size. With
`service`, the load that the HTTP service can take (service_load.py).

    OMP_NUM_THREADS=1 python benchmarks/search.py gallery --index hnsw --index ivf-pq --json benchmarks/results/search_gallery_cpu.json

Entries are people with noise: 256-d centres and, around each, images whose cosine similarity to each other is about
0.6, from a fixed seed. Queries are further images of the same people. The scan is the obvious implementation: a matrix
product with all vectors in memory, and `argpartition`. Searches and scans alternate, query by query. Memory is the
resident memory of the process that opened the gallery. Searches and scans use OMP_NUM_THREADS threads; indexes are
built with all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from crossreid.galleries import Entries, Gallery, IndexOptions, open_gallery
from crossreid.terminal import advancing, progress_bar

sys.path.append(str(Path(__file__).resolve().parent))  # for machine.py, also where this file is run from elsewhere

DIMENSION, IMAGES, K = 256, 20, 10
NOISE = 0.8  # of the length of a centre
PART = 16_384


def people(entries: int, queries: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors `(N, 256)` and `(Q, 256)`: `IMAGES` of each person, and queries of people drawn among them."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((max(1, entries // IMAGES), DIMENSION), dtype=np.float32))
    rows = np.empty((entries, DIMENSION), np.float32)
    for start in range(0, entries, PART):
        who = np.arange(start, min(start + PART, entries)) % len(centres)
        rows[start : start + len(who)] = seen(centres[who], rng)
    return rows, seen(centres[rng.integers(0, len(centres), queries)], rng)


def seen(centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return unit(centres + NOISE / np.sqrt(DIMENSION) * rng.standard_normal(centres.shape, dtype=np.float32))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scan(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """`(Q, 10)` positions of the nearest, in no order; one query as a product of a matrix and a vector, which is quicker."""
    products = (rows @ queries[0])[None] if len(queries) == 1 else queries @ rows.T
    return np.argpartition(-products, K, axis=1)[:, :K]


def memory() -> float:
    """GiB resident."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 2**20


def in_turn(queries: np.ndarray, batch: int, calls: dict[str, Callable[[np.ndarray], Any]]) -> dict[str, Any]:
    """Seconds of each batch of queries by each call, one after the other, and what each call gave."""
    parts = [queries[start : start + batch] for start in range(0, len(queries) - batch + 1, batch)]
    found: dict[str, Any] = {name: {"seconds": [], "given": []} for name in calls}
    for call in calls.values():
        call(parts[0])
    for part in parts:
        for name, call in calls.items():
            began = time.perf_counter()
            given = call(part)
            found[name]["seconds"].append(time.perf_counter() - began)
            found[name]["given"] += list(given)
    return found


def rows_of(found: dict[str, Any], index: str, batch: int) -> list[dict[str, Any]]:
    """A row of figures for each call; recall is against the scan."""
    truth = [{int(position) for position in positions} for positions in found["scan"]["given"]]
    rows = []
    for name, each in found.items():
        given = each["given"]
        if name == "gallery":
            given = [[int(text) for text in matches.ids] for matches in given]
        shares = [
            len(true & {int(position) for position in positions}) / K
            for true, positions in zip(truth, given, strict=True)
        ]
        seconds = np.array(each["seconds"])
        rows.append({
            "index": index if name == "gallery" else "NumPy scan", "beside": index, "batch": batch, "searches": len(seconds),
            "p50 ms": 1e3 * float(np.median(seconds)), "p99 ms": 1e3 * float(np.quantile(seconds, 0.99)),
            "recall@10": float(np.mean(shares)), "queries per second": batch * len(seconds) / float(seconds.sum()),
        })  # fmt: skip
    for row in rows:
        row["times the scan, p50"] = rows[-1]["p50 ms"] / row["p50 ms"]
    return rows


def measure(
    gallery: Gallery, rows: np.ndarray, queries: np.ndarray, index: str, singles: int, batches: int
) -> list[dict[str, Any]]:
    calls = {"gallery": lambda part: gallery.search(part, K), "scan": lambda part: scan(rows, part)}
    measured = rows_of(in_turn(queries[:singles], 1, calls), index, 1)
    return measured + rows_of(in_turn(queries[: 32 * batches], 32, calls), index, 32)


def benchmark(
    entries: int,
    folder: Path,
    *,
    singles: int,
    batches: int,
    indexes: list[IndexOptions],
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    before = memory()
    rows, queries = people(entries, max(singles, 32 * batches))
    vectors = memory() - before
    where = folder / "gallery"
    timings: dict[str, float] = {}
    began = time.perf_counter()
    with (
        open_gallery(where, model="benchmark", dimension=DIMENSION, create=True) as gallery,
        progress_bar() as progress,
    ):
        advance = advancing(progress, "added")
        for start in range(0, entries, PART):
            part = rows[start : start + PART]
            names = [str(row) for row in range(start, start + len(part))]
            people_of = [f"p{row % max(1, entries // IMAGES)}" for row in range(start, start + len(part))]
            gallery.add(Entries(part, ids=names, identities=people_of, cameras=np.arange(start, start + len(part)) % 6))
            advance(len(part), entries)
    timings["adding"] = time.perf_counter() - began
    measured, sizes, held = [], {}, {}
    before = memory()
    began = time.perf_counter()
    gallery = open_gallery(where, model="benchmark")
    timings["opening"] = time.perf_counter() - began
    held["exact"] = memory() - before
    sizes["exact"] = gallery.stats().bytes
    measured += measure(gallery, rows, queries, "exact", singles, batches)
    for options in indexes:
        began = time.perf_counter()
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        with progress_bar() as progress:
            gallery.build_index(options, advancing(progress, options.kind))
        faiss.omp_set_num_threads(threads)
        timings[f"building {options.kind}"] = time.perf_counter() - began
        gallery.close()
        del gallery
        before = memory()
        began = time.perf_counter()
        gallery = open_gallery(where, model="benchmark")
        timings[f"opening with {options.kind}"] = time.perf_counter() - began
        held[options.kind] = memory() - before
        sizes[options.kind] = gallery.stats().bytes
        measured += measure(gallery, rows, queries, options.kind, singles, batches)
        keep(told(entries, indexes, timings, sizes, held, vectors, measured))
    gallery.close()
    return told(entries, indexes, timings, sizes, held, vectors, measured)


def told(
    entries: int,
    indexes: list[IndexOptions],
    timings: dict[str, float],
    sizes: dict[str, int | None],
    held: dict[str, float],
    vectors: float,
    measured: list[dict[str, Any]],
) -> dict[str, Any]:
    """All that was measured."""
    from machine import machine

    return {
        "machine": machine(),
        "threads of a search": faiss.omp_get_max_threads(), "faiss options": faiss.get_compile_options().strip(),
        "load average before": LOAD, "load average after": os.getloadavg(),
        "faiss": faiss.__version__, "numpy": np.__version__, "entries": entries, "dimension": DIMENSION,
        "indexes": [options.to_json() for options in indexes], "seconds": timings, "bytes on disk": sizes,
        "GiB of the vectors": 4 * DIMENSION * entries / 2**30, "GiB resident of the scan's vectors": vectors,
        "GiB resident of the open gallery": held, "rows": measured,
    }  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """The table of docs/search.md."""
    rows = [
        "| index | queries at once | p50 ms | p99 ms | recall@10 | the scan's p50 ms | times the scan |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, beside in zip(result["rows"][::2], result["rows"][1::2], strict=True):
        rows.append(
            f"| {row['index']} | {row['batch']} | {row['p50 ms']:.1f} | {row['p99 ms']:.1f} | {row['recall@10']:.4f} | "
            f"{beside['p50 ms']:.1f} | {row['times the scan, p50']:.3g} |"
        )
    rows += ["", "| index | build, s | open, s | GiB resident | GB on disk |", "|---|---|---|---|---|"]
    for kind, size in result["bytes on disk"].items():
        seconds = result["seconds"]
        built = f"{seconds['adding']:.0f} (adding)" if kind == "exact" else f"{seconds[f'building {kind}']:.0f}"
        opening = seconds["opening" if kind == "exact" else f"opening with {kind}"]
        rows.append(
            f"| {kind} | {built} | {opening:.1f} | {result['GiB resident of the open gallery'][kind]:.2f} | {size / 1e9:.2f} |"
        )
    return "\n".join(rows)


def main() -> None:
    global LOAD
    LOAD = os.getloadavg()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["gallery", "service"])
    parser.add_argument(
        "--entries", type=int, help="number of entries; 1,000,000 for the gallery, 10,000 for the service by default"
    )
    parser.add_argument("--network", action="append", help="networks of the service: demo, resnet18; both by default")
    parser.add_argument(
        "--runtime", action="append", help="engines of the service: torch, 'torch, one at a time', onnx; all by default"
    )
    parser.add_argument("--milvus", help="address for the service's gallery; in process by default")
    parser.add_argument(
        "--workers",
        default="1",
        help="numbers of worker processes of the service, for example 1,2; several only with --milvus; its JSON has them",
    )
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--singles", type=int, default=200, help="number of single queries")
    parser.add_argument("--batches", type=int, default=12, help="number of batches of 32")
    parser.add_argument(
        "--index", action="append", choices=["hnsw", "ivf-pq"], help="only these indexes, besides exact"
    )
    parser.add_argument("--ef-search", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="folder for the gallery; a temporary one by default")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    every = {
        "hnsw": IndexOptions("hnsw", m=16, ef_construction=64, ef_search=given.ef_search),
        "ivf-pq": IndexOptions("ivf-pq", nprobe=64, refine=200),
    }

    def keep(result: dict[str, Any]) -> None:
        if given.json is not None:
            given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        if given.part == "service":
            import service_load

            result = service_load.benchmark(
                folder, networks=given.network or list(service_load.NETWORKS),
                runtimes=given.runtime or list(service_load.RUNTIMES), entries=given.entries or 10_000,
                clients=given.clients, seconds=given.seconds, milvus=given.milvus,
                workers=tuple(map(int, given.workers.split(","))),
            )  # fmt: skip
            print(service_load.markdown(result))
            keep(result)
            return
        result = benchmark(
            given.entries or 1_000_000, folder, singles=given.singles, batches=given.batches,
            indexes=[every[name] for name in given.index or ["hnsw"]], keep=keep,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    print(markdown(result))
    keep(result)


LOAD = os.getloadavg()

if __name__ == "__main__":
    main()
