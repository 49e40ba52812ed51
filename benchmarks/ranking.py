"""The cost of ranking, in one run with the ordinary loop, a full sort, and the bare matrix products.

    python benchmarks/ranking.py --json benchmarks/results/ranking.json

The loop is what released evaluations do: for each query an argsort, boolean masks, a running sum. `sort` is the same
for all queries at once in torch. Embeddings are clusters with noise, with 2048 dimensions unless stated otherwise.
Times are the best of several alternating rounds; memory is the peak of the process beyond what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from crossreid.evaluation.distances import distances as distances_of
from crossreid.evaluation.distances import order_blocks
from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.ranking import rank_distances, rank_embeddings
from crossreid.evaluation.reranking import reranked_blocks
from crossreid.evaluation.reranking_options import KReciprocal


def loop(distances, query, gallery, query_cameras, gallery_cameras):
    """CMC and mAP by the definition, one query at a time."""
    curve, precisions = np.zeros(len(gallery)), []
    for i in range(len(query)):
        order = np.argsort(distances[i])
        junk = (gallery[order] == query[i]) & (gallery_cameras[order] == query_cameras[i])
        hits = (gallery[order] == query[i])[~junk]
        if not hits.any():
            continue
        curve[np.argmax(hits) :] += 1
        found = np.cumsum(hits)
        precisions.append((found / np.arange(1, len(hits) + 1) * hits).sum() / hits.sum())
    return curve / len(precisions), float(np.mean(precisions))


def sort_everything(distances, query, gallery, query_cameras, gallery_cameras):
    """The same for all queries at once, by a full sort in torch."""
    order = distances.argsort(dim=1)
    names, cameras = gallery[order], gallery_cameras[order]
    hits = names == query[:, None]
    kept = ~(hits & (cameras == query_cameras[:, None]))
    hits &= kept
    place = kept.cumsum(1).clamp(min=1)
    precision = (hits.cumsum(1) / place * hits).sum(1) / hits.sum(1).clamp(min=1)
    valid = hits.any(1)
    first = torch.where(hits, place, len(gallery) + 1).amin(1)[valid]
    curve = torch.bincount(first, minlength=len(gallery) + 1)[1:].cumsum(0) / valid.sum()
    return curve, float(precision[valid].mean())


def dense_k_reciprocal(query, gallery, k1=20, k2=6, weight=0.3):
    """Zhong et al., equations 2 to 12, with whole matrices, in float64: in float32 it is rounding that decides who is near."""
    everyone = np.concatenate([query, gallery]).astype(np.float64)
    squares = (everyone**2).sum(1)
    original = np.maximum(squares[:, None] + squares - 2 * everyone @ everyone.T, 0)
    np.fill_diagonal(original, 0)
    original /= original.max(1, keepdims=True)
    order = np.argsort(original, axis=1)

    def reciprocal(i, k):
        near = order[i, : k + 1]
        return near[(order[near, : k + 1] == i).any(1)]

    encoding = np.zeros_like(original)
    for i in range(len(everyone)):
        first = reciprocal(i, k1)
        members = first
        for candidate in first:
            other = reciprocal(candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(other, first)) > 2 / 3 * len(other):
                members = np.append(members, other)
        members = np.unique(members)
        encoding[i, members] = np.exp(-original[i, members])
        encoding[i] /= encoding[i].sum()
    encoding = np.stack([encoding[order[i, :k2]].mean(0) for i in range(len(everyone))])
    count = len(query)
    shared = np.stack([np.minimum(row, encoding[count:]).sum(1) for row in encoding[:count]])
    return (1 - weight) * (1 - shared / (2 - shared)) + weight * original[:count, count:]


def problem(queries: int, entries: int, people: int, dimensions: int = 2048, noise: float = 3.0):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((people, dimensions), dtype=np.float32)
    ids = rng.integers(0, people, queries), rng.integers(0, people, entries)
    cameras = rng.integers(1, 7, queries), rng.integers(1, 7, entries)
    sides = [centres[own] + noise * rng.standard_normal((len(own), dimensions), dtype=np.float32) for own in ids]
    return sides, ids, cameras


def best(rounds: int, device: str, **calls: Callable[[], Any]) -> dict[str, float]:
    """Shortest seconds of each call, one round of all after the other; short calls are made several times a round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            spent = 0.0
            while spent < 0.3:
                start = time.perf_counter()
                call()
                if device != "cpu":
                    torch.cuda.synchronize()
                times[name].append(time.perf_counter() - start)
                spent += times[name][-1]
    return {name: min(values) for name, values in times.items()}


def peak(device: str, call: Callable[[], Any]) -> float:
    """GiB that `call` needs at its most beyond what is held before."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**30
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # start the high-water mark anew

    def read(key: str) -> float:
        (line,) = [line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if key in line]
        return int(line.split()[1]) / 2**20

    before = read("VmRSS:")
    call()
    return read("VmHWM:") - before


def against_the_loop(name: str, queries: int, entries: int, people: int, device: str) -> list[dict[str, Any]]:
    (query, gallery), ids, cameras = problem(queries, entries, people)
    given = distances_of(query, gallery).numpy()
    on_device = torch.from_numpy(given).to(device)
    left, right = torch.from_numpy(query).to(device), torch.from_numpy(gallery).to(device)
    labels = [torch.from_numpy(part).to(device) for part in (*ids, *cameras)]
    rules = {"exclusion": SAME_IDENTITY_AND_CAMERA}
    ours = rank_distances(on_device, *ids, *cameras, **rules)
    for other in (loop(given, *ids, *cameras), sort_everything(on_device, *labels)):
        assert abs(other[1] - ours.mAP) < 1e-5, (other[1], ours.mAP)  # these break ties as they come
        assert abs(float(other[0][0]) - ours.cmc[0]) < 1e-5
    seconds = best(
        3 if entries > 5000 else 7,
        device,
        loop=lambda: loop(given, *ids, *cameras),
        sort=lambda: sort_everything(on_device, *labels),
        ours=lambda: rank_distances(on_device, *ids, *cameras, **rules),
        product=lambda: left @ right.T,
        numpy_product=lambda: query @ gallery.T,
        from_embeddings=lambda: rank_embeddings(left, right, *ids, *cameras, **rules),
        loop_from_embeddings=lambda: loop(distances_of(query, gallery).numpy(), *ids, *cameras),
    )
    memory = peak(device, lambda: rank_embeddings(left, right, *ids, *cameras, **rules))
    sizes = f"{queries} x {entries}"
    return [
        {"case": f"{name}, {sizes}, distances given", "seconds": seconds["ours"], "ours over the loop":
         seconds["loop"] / seconds["ours"], "ours over the sort": seconds["sort"] / seconds["ours"]},
        {"case": f"{name}, {sizes}, from 2048-d embeddings", "seconds": seconds["from_embeddings"],
         "ours over the loop": seconds["loop_from_embeddings"] / seconds["from_embeddings"],
         "times the bare product": seconds["from_embeddings"] / seconds["product"], "peak GiB": memory}
        | ({"times NumPy's product": seconds["from_embeddings"] / seconds["numpy_product"]} if device == "cpu" else {}),
    ]  # fmt: skip


def sysu(device: str) -> list[dict[str, Any]]:
    """The whole evaluation at the official size: 3,803 infrared and 6,775 visible images of 96 identities."""
    rng = np.random.default_rng(0)
    cameras = np.sort(np.concatenate([rng.choice([3, 6], 3803), rng.choice([1, 2, 4, 5], 6775)]))
    identities = rng.integers(1, 97, len(cameras))
    order = np.lexsort((cameras, identities))
    identities, cameras = identities[order], cameras[order]
    centres = rng.standard_normal((97, 2048), dtype=np.float32)
    infrared = np.isin(cameras, (3, 6))
    names = identities.astype(str)
    features = Features(
        centres[identities] + 3 * rng.standard_normal((len(cameras), 2048), dtype=np.float32),
        names, cameras, infrared.astype(int), positions_of(list(zip(names, cameras.tolist(), strict=True))),
        np.full(len(cameras), ""), np.where(infrared, "query", "gallery"),
    )  # fmt: skip
    seconds = best(3, device, ours=lambda: evaluate(features, "sysu-mm01", device=device))["ours"]
    memory = peak(device, lambda: evaluate(features, "sysu-mm01", device=device))
    return [
        {"case": "SYSU-MM01, 4 settings x 10 trials, 3,803 queries, float64", "seconds": seconds, "peak GiB": memory}
    ]


def million(device: str) -> list[dict[str, Any]]:
    (query, gallery), ids, cameras = problem(10_000, 1_000_000, 50_000, 256)
    left, right = torch.from_numpy(query).to(device), torch.from_numpy(gallery).to(device)
    rows = next(iter(order_blocks(left, right)))[0].stop

    def product() -> None:
        for start in range(0, len(left), rows):
            left[start : start + rows] @ right.T

    def ours() -> None:
        rank_embeddings(left, right, *ids, *cameras, exclusion=SAME_IDENTITY_AND_CAMERA)

    rank_embeddings(left[:2], right[:9], ids[0][:2], ids[1][:9])
    memory = peak(device, ours)
    seconds = best(1, device, product=product, ours=ours)
    ratio = seconds["ours"] / seconds["product"]
    return [{"case": "10,000 x 1,000,000, 256-d float32", "seconds": seconds["ours"], "times the bare product": ratio,
             "peak GiB": memory}]  # fmt: skip


def rerank(device: str) -> list[dict[str, Any]]:
    (query, gallery), *_ = problem(1000, 3000, 200, noise=2.0)
    left, right = torch.from_numpy(query).to(device), torch.from_numpy(gallery).to(device)

    def ours() -> torch.Tensor:
        return torch.cat([block for _, block in reranked_blocks(left, right, KReciprocal())])

    ours()
    start = time.perf_counter()
    dense = dense_k_reciprocal(query, gallery)
    slow = time.perf_counter() - start
    difference = float(np.abs(ours().cpu().numpy() - dense).max())
    seconds = best(3, device, ours=ours)["ours"]
    rows = [{"case": "k-reciprocal, 1,000 x 3,000, 2048-d", "seconds": seconds, "ours over the dense definition":
             slow / seconds, "largest difference": difference}]  # fmt: skip
    (query, gallery), *_ = problem(3368, 15_913, 751)
    left, right = torch.from_numpy(query).to(device), torch.from_numpy(gallery).to(device)

    def all_blocks() -> None:
        for _ in reranked_blocks(left, right, KReciprocal()):
            pass

    memory = peak(device, all_blocks)
    seconds = best(1, device, ours=all_blocks)["ours"]
    return [*rows, {"case": "k-reciprocal, 3,368 x 15,913, 2048-d", "seconds": seconds, "peak GiB": memory}]


CASES: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "regdb": lambda device: against_the_loop("RegDB", 2060, 2060, 206, device),
    "market": lambda device: against_the_loop("Market-1501", 3368, 15_913, 751, device),
    "sysu": sysu,
    "rerank": rerank,
    "million": million,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--json", type=Path, help="also write the numbers to this file, for example under benchmarks/results/"
    )
    arguments = parser.parse_args()
    console = Console(width=150)
    processor = platform.processor() or platform.machine()
    machine = (
        torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else f"{processor}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} from elsewhere"
    )
    rows = []
    for name in arguments.cases:
        console.print(f"{name} ...")
        rows += CASES[name](arguments.device)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=f"{machine}, torch {torch.__version__}")
    for row in rows:
        table.add_row(*(f"{row[key]:.3g}" if isinstance(row.get(key), float) else row.get(key, "") for key in columns))
    console.print(table)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        temporary = arguments.json.with_suffix(".tmp")
        result = {"machine": machine, "torch": torch.__version__, "rows": rows}
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, arguments.json)


if __name__ == "__main__":
    main()
