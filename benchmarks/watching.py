"""How fast films are watched, and whether memory stays flat: one and four cameras, with and without a detector.

    python benchmarks/watching.py OUT [--minutes 1] [--size 180x320] [--hours 1] [--json benchmarks/results/watching_cpu.json]

The films are those of the city; the network is a small one with random weights (the work is the same). Each case
watches in its own process. Frames and seconds are counted from its first report on, so that imports and loading weights
are not included. Also reported are the CPU milliseconds of the watching process per frame, and the machine's load, as
it may be shared. Detectors: `file` reads the boxes stored beside the films; `background` needs no weights; `fasterrcnn`
is torchvision's fasterrcnn_mobilenet_v3_large_fpn with random weights, accepting boxes of any score.

Memory: one film is repeated until it is --hours long (its packets are copied, not encoded again) and watched as fast as
possible, while the resident memory of the watching process and of its readers is recorded.

The figure for a GPU is an estimate, not a measurement: it assumes that networks run `GPU_FACTOR` times as fast, and the
rest as here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from crossreid.data.synthetic import synthesise_city
from crossreid.errors import CrossreidError
from crossreid.files import replacing, write_json, write_text
from crossreid.runs.named_network import size_of
from machine import machine

DETECTORS = ("file", "background", "fasterrcnn")
CAMERAS = ("square", "hall-south", "street", "park")
GPU_FACTOR = 30
NETWORK = "fasterrcnn_mobilenet_v3_large_fpn"


def looped_film(film: Path, times: int, out: Path) -> None:
    """A film one after another so many times, without decoding it."""
    import av

    with replacing(out) as temporary, av.open(str(temporary), "w", format="mp4") as written:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(film)) as opened:
                source = opened.streams.video[0]
                if stream is None:
                    stream = written.add_stream_from_template(source)
                end = 0
                for packet in opened.demux(source):
                    if packet.dts is None:
                        continue
                    length = packet.duration or 1
                    end = max(end, packet.pts + length)
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    written.mux(packet)
                offset += end


def looped_detections(rows: Path, frames: int, times: int, out: Path) -> None:
    """The rows of MOT Challenge of a film of so many frames, as often as that is repeated."""
    split = [line.split(",", 1) for line in rows.read_text(encoding="utf-8").splitlines()]
    lines = (f"{int(frame) + number * frames},{rest}\n" for number in range(times) for frame, rest in split)
    write_text(out, "".join(lines))


def resident(process: int) -> int:
    """Bytes of memory that a process and its descendants hold, each one's share of what they have in common counted once."""
    total = 0
    for one in _with_descendants(process):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


def _with_descendants(process: int) -> Iterator[int]:
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found = children.read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in found:
            yield from _with_descendants(int(child))


def model_in(out: Path) -> Path:
    """A run of a small network with random weights: nothing is learned, all is computed."""
    import crossreid
    from crossreid.data.synthetic import synthesise

    if not (out / "run" / "best.safetensors").is_file():
        if not (out / "world").exists():
            synthesise(out / "world", "manifest", 8, 0, images_per_camera=2, size=(64, 32), workers=1)
        recipe = crossreid.make_recipe(
            {
                "data": {"name": "manifest", "root": str(out / "world"), "height": 128, "width": 64, "workers": 0,
                         "sampler": {"identities": 2, "images": 2}},
                "method": {"name": "baseline", "backbone": {"name": "resnet18", "weights": "none"}},
                "training": {"epochs": 1, "precision": "32-true", "schedule": {"warmup_epochs": 0}},
            },
            source="watching",
        )  # fmt: skip
        crossreid.train(recipe, out / "run")
    return out / "run"


def detector_weights(out: Path) -> Path:
    import torch
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn as build

    path = out / f"{NETWORK}.pth"
    if not path.is_file():
        torch.manual_seed(0)
        with replacing(path) as temporary:
            torch.save(build(weights=None, weights_backbone=None).state_dict(), temporary)
    return path


def one_case(settings: dict[str, Any]) -> dict[str, float]:
    """Watch as `settings` says, in this process: frames and seconds from the first report on."""
    from crossreid.watching.watch import watch

    seen: list[tuple[float, float, int]] = []

    def report(counts: Sequence[Any], identities: int) -> None:
        if not seen:
            seen.append((time.perf_counter(), time.process_time(), sum(one.frames for one in counts)))

    found = watch(keep_images=False, report=report, **settings)
    end, frames = time.perf_counter(), sum(one.frames for one in found.cameras)
    start, busy, before = seen[0]
    return {
        "frames": frames - before,
        "seconds": end - start,
        "cpu_seconds": time.process_time() - busy,
        "identities": found.identities,
    }


def run_case(settings: dict[str, Any], *, noted: list[tuple[float, int]] | None = None) -> dict[str, float]:
    """`one_case` in a process of its own; where `noted` is given, (seconds, bytes of memory) are appended every second."""
    told = Path(settings["out"]).with_suffix(".json")
    write_json(told, settings)
    process = subprocess.Popen([sys.executable, __file__, "--case", str(told)], stdout=subprocess.PIPE, text=True)
    start = time.monotonic()
    while noted is not None and process.poll() is None:
        noted.append((time.monotonic() - start, resident(process.pid)))
        time.sleep(1)
    output, _ = process.communicate()
    if process.returncode:
        raise CrossreidError(f"watching ended with status {process.returncode}: {told}")
    return json.loads(output.splitlines()[-1])


def speeds(out: Path, city: Path, model: Path, detectors: Sequence[str]) -> list[dict[str, Any]]:
    """A row of each detector and number of cameras."""
    rows = []
    for detector in detectors:
        for cameras in (1, len(CAMERAS)):
            settings: dict[str, Any] = {
                "sources": [f"{name}={city / 'films' / name}.mp4" for name in CAMERAS[:cameras]],
                "out": str(out / f"watch-{detector}-{cameras}-{os.getpid()}"),
                "model": str(model),
                "detector": {"file": str(city / "det"), "fasterrcnn": NETWORK}.get(detector, detector),
            }
            if detector == "fasterrcnn":
                settings |= {"weights": str(detector_weights(out)), "until": 3.0}
            found = run_case(settings)
            rate = found["frames"] / found["seconds"]
            busy = 1000 * found["cpu_seconds"] / found["frames"]
            rows.append(
                {
                    "detector": detector,
                    "cameras": cameras,
                    "frames": int(found["frames"]),
                    "fps": rate,
                    "cpu_ms": busy,
                    "load": os.getloadavg()[0],
                }
            )
            print(
                f"{detector}, {cameras} camera(s): {rate:.1f} frames per second, {busy:.2f} ms of CPU each", flush=True
            )
    return rows


def memory(out: Path, city: Path, model: Path, hours: float) -> dict[str, Any]:
    """Resident memory over a film that is so long, a figure for each tenth of it."""
    plan = json.loads((city / "city.json").read_text(encoding="utf-8"))
    seconds = plan["frames"] / plan["rate"]
    times = max(1, round(hours * 3600 / seconds))
    name = CAMERAS[0]
    (out / "long").mkdir(exist_ok=True)
    looped_film(city / "films" / f"{name}.mp4", times, out / "long" / f"{name}.mp4")
    looped_detections(city / "det" / f"{name}.txt", plan["frames"], times, out / "long" / f"{name}.txt")
    noted: list[tuple[float, int]] = []
    settings = {
        "sources": [f"{name}={out / 'long' / name}.mp4"],
        "out": str(out / f"watch-long-{os.getpid()}"),
        "model": str(model),
        "detector": str(out / "long" / f"{name}.txt"),
    }
    found = run_case(settings, noted=noted)
    return {
        "stream_seconds": times * seconds,
        "watched_seconds": found["seconds"],
        "frames": int(found["frames"]),
        "identities": int(found["identities"]),
        **tenths(noted, found["seconds"]),
    }


def tenths(noted: Sequence[tuple[float, int]], watched: float) -> dict[str, Any]:
    """The median memory, MB, in each tenth of the time that was watched (the end of what was noted), and how much the last is above
    the third: before that, caches fill."""
    end = max(second for second, _ in noted)
    watching = [(second - (end - watched), size) for second, size in noted if second >= end - watched]
    medians = []
    for part in range(10):
        sizes = sorted(size for second, size in watching if part <= 10 * second / watched < part + 1)
        medians.append(round(sizes[len(sizes) // 2] / 1e6, 1) if sizes else None)
    known = [size for size in medians if size is not None]
    return {"megabytes": medians, "growth": round(known[-1] - known[min(2, len(known) - 1)], 1)}


def gpu_estimate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Frames per second of one camera with a network as detector, if that were `GPU_FACTOR` times as fast: an estimate by the
    milliseconds of CPU that the watching process took for a frame, with a network and with a file. The network that embeds stays
    on the CPU in it, so that a GPU would do better still."""
    busy = {row["detector"]: row["cpu_ms"] for row in rows if row["cameras"] == 1}
    if not {"file", "fasterrcnn"} <= busy.keys():
        return {}
    rest, network = busy["file"], max(0.0, busy["fasterrcnn"] - busy["file"])
    return {
        "factor": GPU_FACTOR,
        "rest_ms": rest,
        "network_ms": network,
        "fasterrcnn": 1000 / (rest + network / GPU_FACTOR),
        "measured": False,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--size", default="180x320", metavar="HxW")
    parser.add_argument(
        "--hours", type=float, default=1.0, help="length of the stream for the memory test; 0 to skip it"
    )
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.case is not None:
        print(json.dumps(one_case(json.loads(given.case.read_text(encoding="utf-8")))))
        return
    if given.out is None:
        parser.error("expected OUT, a folder for the results")
    given.out.mkdir(parents=True, exist_ok=True)
    city = given.out / f"city-{given.minutes:g}-{given.size}"
    if not city.exists():
        synthesise_city(city, 12, 0, minutes=given.minutes, others=4, images=1, size=size_of(given.size))
    model = model_in(given.out)
    rows = speeds(given.out, city, model, given.detectors)
    result: dict[str, Any] = {"size": given.size, "rows": rows, "estimate_gpu": gpu_estimate(rows)}
    if given.hours:
        result["memory"] = memory(given.out, city, model, given.hours)
        print(f"memory by tenths of {result['memory']['stream_seconds']:.0f} s: {result['memory']['megabytes']} MB")
    if given.json:
        write_json(given.json, {"machine": machine(), **result})


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
