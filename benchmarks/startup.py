"""Seconds from the start of a process until it can open runs: torch alone, this package, and with timm imported as it comes.

    python benchmarks/startup.py --json benchmarks/results/startup_cpu.json

Each round starts a process of each kind in turn; the ratio is of a round, and its median is reported. The first round is not
counted: it reads files from the disk that the others find in memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from crossreid.files import write_json
from machine import machine

OPENS = "import crossreid; crossreid.open_model; crossreid.embed; crossreid.evaluate"
STARTS = {"torch alone": "import torch", "crossreid": OPENS, "crossreid, timm as it comes": f"import timm; {OPENS}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(given.rounds + 1):
        for name, code in STARTS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds[name].append(time.perf_counter() - began)
    counted = {name: values[1:] for name, values in seconds.items()}
    plain = counted["crossreid, timm as it comes"]
    print("| | seconds | of those with timm as it comes |\n|---|---:|---:|")
    for name, values in counted.items():
        share = median(a / b for a, b in zip(values, plain, strict=True))
        print(f"| {name} | {median(values):.1f} | {share:.2f} |")
    if given.json:
        write_json(given.json, {"machine": machine(), "seconds": counted})


if __name__ == "__main__":
    main()
