"""Images per second per core of one run with every engine, alternating in one process, on batches already in memory.

    OMP_NUM_THREADS=1 python benchmarks/engines.py --json benchmarks/results/engines_cpu.json

The run is exported as by `crossreid export`, and its files are opened as by `crossreid embed --engine`. Each round
alternates between all engines; ratios to torch in float32 are computed per round, and their median is reported. Time is
processor time of all threads together, since other work may share the machine. The float32 embeddings of all engines
must equal those of torch to 1e-4, or nothing is reported.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))  # also where this file is run from elsewhere

from embedding import BATCH, CASES, make_run

TARGETS = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


def measure(case: str, rounds: int, batches: int, batch: int = BATCH) -> dict[str, Any]:
    import torch

    from crossreid.inference.exporting.export import export
    from crossreid.inference.open_by_engine import open_by_engine

    method, network, size, *_ = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        make_run(run, method, network, size)
        for target in TARGETS:
            export(run, target)  # type: ignore[arg-type]
        models = {name: open_by_engine(run, name, device="cpu") for name in ("torch", *TARGETS)}  # type: ignore[arg-type]
        for name in ("torch", "openvino"):
            if name == "torch" or "bf16" in models[name].precisions:
                models[f"{name}, bf16"] = open_by_engine(run, name, precision="bf16", device="cpu")  # type: ignore[arg-type]
        images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
        modalities = torch.arange(batch) % 2
        expected = models["torch"].embed(images, modalities)
        apart = {
            name: float((model.embed(images, modalities) - expected).abs().max()) for name, model in models.items()
        }
        wrong = [name for name, difference in apart.items() if "bf16" not in name and not difference <= 1e-4]
        if wrong:
            raise SystemExit(f"{case}: the embeddings of {', '.join(wrong)} are not torch's: {apart}")
        taken: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, model in models.items():
                begun = time.process_time()
                for _ in range(batches):
                    model.embed(images, modalities)
                taken[name].append(batch * batches / (time.process_time() - begun))
    times = {name: median(a / b for a, b in zip(speeds, taken["torch"], strict=True)) for name, speeds in taken.items()}
    return {"batch": batch, "difference": apart, "images_per_core_second": taken, "times_torch": times}


def markdown_table(results: dict[str, Any]) -> str:
    """What docs/export.md shows: times the images per second of a core of torch in float32, in the same round."""
    names = list(next(iter(results.values()))["times_torch"])
    lines = [f"| network, input | batch | {' | '.join(names[1:])} |", f"|---|---:|{'---:|' * (len(names) - 1)}"]
    for case, found in results.items():
        figures = " | ".join(f"{found['times_torch'][name]:.2f}" for name in names[1:])
        lines.append(f"| {case} | {found['batch']} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=CASES, help="run only this case; can be given several times")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed rounds")
    parser.add_argument("--batches", type=int, default=4, help="batches per engine and round")
    parser.add_argument(
        "--json", type=Path, help="also write the numbers to this file, for example under benchmarks/results/"
    )
    arguments = parser.parse_args()
    results = {case: measure(case, arguments.rounds, arguments.batches) for case in arguments.case or CASES}
    print(markdown_table(results))
    if arguments.json:
        import torch

        from crossreid.files import write_json
        from machine import machine

        write_json(arguments.json, {"machine": machine() | {"threads": torch.get_num_threads()}, "cases": results})


if __name__ == "__main__":
    main()
