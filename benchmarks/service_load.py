"""The load that `crossreid serve` can take: image searches by concurrent clients, against bare forward passes.

    python benchmarks/search.py service --json benchmarks/results/search_service_cpu.json

The service is the real command in its own process; the clients, each with a persistent connection and one request at a
time, are another process on the same machine, whose work counts against the service. Every image is sent as its file's
bytes, decoded, embedded and searched, k = 10, and the first match of the answer is compared with the library's own. The
bare network is the same network in the same runtime and arithmetic with all threads, opened as the service opens it, on
a batch in memory, before and after each load.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from embedding import make_run
from machine import machine

CLIENTS, SECONDS, BATCH = 32, 60.0, 32
NETWORKS = {
    "demo": ("variational_distillation", "resnet10t", (80, 40)),
    "resnet18": ("baseline", "resnet18", (256, 128)),
}
RUNTIMES = ("torch", "torch, one at a time", "onnx")
BOUNDARY = "crossreid-benchmark"


def request_of(content: bytes) -> bytes:
    """A search by one image, as bytes of HTTP/1.1."""
    fields = {"k": "10", "modality": "visible"}
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="query.jpg"\r\n'
    body = b"".join(
        [*parts, f"{head}Content-Type: image/jpeg\r\n\r\n".encode(), content, f"\r\n--{BOUNDARY}--\r\n".encode()]
    )
    return (
        f"POST /v1/search/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def asking(
    port: int, requests: list[bytes], first: int, until: float, found: list[tuple[int, int, float, str]]
) -> None:
    """One client: (image, status, seconds, id of the best match) of each request that was sent before `until`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = first
    while time.perf_counter() < until:
        number = (number + 7) % len(requests)
        began = time.perf_counter()
        writer.write(requests[number])
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await reader.readexactly(length)
        status = int(head.split()[1])
        seconds = time.perf_counter() - began
        best = json.loads(body)["matches"][0]["entry"]["id"] if status == 200 else ""
        found.append((number, status, seconds, best))
    writer.close()


def load(port: int, paths: list[Path], clients: int, seconds: float, out: Any) -> None:
    """All clients, in a process of their own."""
    requests = [request_of(path.read_bytes()) for path in paths]
    found: list[tuple[int, int, float, str]] = []

    async def run() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(asking(port, requests, 13 * n, began + seconds, found) for n in range(clients)))
        return time.perf_counter() - began

    took = asyncio.run(run())
    out.put((took, found))


def resident(pid: int) -> float:
    """GiB of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 2**20


def resident_of(pid: int, workers: int) -> float:
    """GiB of the process that serves; of several, each worker's on average."""
    if workers == 1:
        return resident(pid)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    serving = [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
    return sum(map(resident, serving)) / len(serving)


def bare(run: Path, seconds: float, runtime: str) -> float:
    """Images per second of the network alone in the service's runtime, on a batch in memory, with all threads."""
    import torch

    from crossreid.inference.open_by_engine import open_by_engine

    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)  # ONNX Runtime is opened with as many
    try:
        model = open_by_engine(run, runtime)
        images = torch.randn(BATCH, 3, model.preprocessing.height, model.preprocessing.width)
        modalities = torch.zeros(BATCH, dtype=torch.int64)
        for _ in range(2):
            model.embed(images, modalities)
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            model.embed(images, modalities)
            count += BATCH
        return count / (time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def collection_of(folder: Path) -> str:
    """A name that nobody has in a Milvus yet."""
    return f"load_{folder.parent.name}_{folder.name}"


def fill(folder: Path, run: Path, entries: int, milvus: str | None = None) -> list[Path]:
    """Images, a gallery of them and of random others, in `folder` or in a Milvus; the images."""
    import torch

    from crossreid.data.images import load_image
    from crossreid.data.synthetic import synthesise
    from crossreid.galleries import Entries, open_gallery
    from crossreid.inference.open_model import open_model

    asked = min(256, entries // 2)
    synthesise(folder / "world", "manifest", -(-asked // 6), 0, images_per_camera=1, size=(128, 64))  # 6 cameras
    paths = sorted((folder / "world").glob("images/*/*.jpg"))[:asked]
    model = open_model(run)
    size = (model.preprocessing.height, model.preprocessing.width)
    tensors = torch.stack([model.transform(load_image(path, at_least=size)) for path in paths])
    rows = np.concatenate([model.embed(part, torch.zeros(len(part))).numpy() for part in tensors.split(BATCH)])
    with open_gallery(
        milvus or folder / "gallery",
        model=model.fingerprint,
        dimension=model.dimension,
        collection=collection_of(folder),
    ) as gallery:
        gallery.add(Entries(rows, ids=[str(path) for path in paths]))
        generator = np.random.default_rng(0)
        for start in range(len(paths), entries, 16_384):
            count = min(16_384, entries - start)
            others = generator.standard_normal((count, model.dimension), dtype=np.float32)
            gallery.add(Entries(others, ids=[f"other {start + n}" for n in range(count)]))
    return paths


def served(
    folder: Path,
    run: Path,
    paths: list[Path],
    batch: int,
    clients: int,
    seconds: float,
    runtime: str,
    milvus: str | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """One load on a fresh service, of so many workers where the gallery is in a Milvus."""
    port = free_port()
    with open(folder / "serve.log", "w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "crossreid", "serve", str(run), milvus or str(folder / "gallery"), "--insecure", "--rate", "0",
             "--port", str(port), "--batch", str(batch), "--runtime", runtime, "--workers", str(workers),
             "--collection", collection_of(folder),
             "--state", str(folder / f"state {batch} {runtime} {workers}")],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        began = time.perf_counter()
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                if workers == 1 or f"with {workers} workers" in (folder / "serve.log").read_text():
                    break
                raise OSError
            except OSError:
                if service.poll() is not None or time.perf_counter() - began > 600:
                    raise RuntimeError((folder / "serve.log").read_text()) from None
                time.sleep(0.1)
        context = multiprocessing.get_context("fork")  # it has what it needs, and uses no thread of ours
        out = context.Queue()
        run_load(context, port, paths, clients, min(3.0, seconds), out)  # buffers, thread pools, the allocator
        before = resident_of(service.pid, workers)
        took, found = run_load(context, port, paths, clients, seconds, out)
        after, first = resident_of(service.pid, workers), resident(service.pid)
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(60)
    times = 1e3 * np.array([each[2] for each in found])
    return {
        "batch": batch, "workers": workers, "clients": clients, "seconds": took, "requests": len(found), "runtime": runtime,
        "errors": sum(each[1] != 200 for each in found),
        "wrong": sum(each[1] == 200 and each[3] != str(paths[each[0]]) for each in found),
        "requests per second": len(found) / took, "p50 ms": float(np.quantile(times, 0.5)),
        "p99 ms": float(np.quantile(times, 0.99)), "GiB before": before, "GiB after": after,
        "GiB of the process that was started": first,
    }  # fmt: skip


def run_load(context: Any, port: int, paths: list[Path], clients: int, seconds: float, out: Any) -> Any:
    process = context.Process(target=load, args=(port, paths, clients, seconds, out))
    process.start()
    found = out.get(timeout=seconds + 120)
    process.join()
    return found


def benchmark(
    folder: Path,
    *,
    networks: list[str],
    runtimes: list[str],
    entries: int,
    clients: int,
    seconds: float,
    milvus: str | None = None,
    workers: tuple[int, ...] = (1,),
) -> dict[str, Any]:
    rows = []
    for name in networks:
        place = folder / name
        place.mkdir()
        method, network, size = NETWORKS[name]
        make_run(place / "run", method, network, size)
        if "onnx" in runtimes:
            from crossreid.inference.exporting.export import export_onnx

            export_onnx(place / "run")
        paths = fill(place, place / "run", entries, milvus)
        for runtime, count in [(runtime, count) for runtime in runtimes for count in workers]:
            batch, kind = 1 if runtime == "torch, one at a time" else BATCH, runtime.partition(",")[0]
            alone = [bare(place / "run", seconds / 6, kind)]
            row = served(place, place / "run", paths, batch, clients, seconds, kind, milvus, count)
            alone.append(bare(place / "run", seconds / 6, kind))
            row = {"network": name, "input": list(size), **row, "bare images per second": alone}
            row["of the bare network"] = row["requests per second"] / float(np.mean(alone))
            rows.append(row)
        shutil.rmtree(place)
    return {
        "machine": machine(), "entries": entries, "rows": rows,
        "load average after": os.getloadavg(),
    }  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """The table of docs/service.md."""
    lines = [
        "| network, input | runtime, batch | requests per second | p50 ms | p99 ms | failed | of the bare network | GiB resident |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        height, width = row["input"]
        workers = f", {row['workers']} workers" if row.get("workers", 1) > 1 else ""
        cells = [
            f"{row['network']}, {height} x {width}", f"{row['runtime']}, {row['batch']}{workers}",
            f"{row['requests per second']:.0f}", f"{row['p50 ms']:.0f}", f"{row['p99 ms']:.0f}",
            f"{row['errors'] + row['wrong']} of {row['requests']:,}", f"{100 * row['of the bare network']:.0f} %",
            f"{row['GiB after']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
