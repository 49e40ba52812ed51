"""Attempts to break crossreid, and how often it survived: killed processes, damaged files, hostile requests.

    python benchmarks/endurance.py --minutes 3 --json benchmarks/results/endurance_cpu.json

Runs for about that many minutes. It counts trials, and does not measure speed. Draws depend on --seed; the moment at
which a process is killed depends on the machine too. `endurance_trials.py` describes what each trial does and when it
counts as survived.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crossreid.files import write_json
from endurance_trials import TRIALS, Trials
from machine import machine

_KEPT = 20  # losses that are written down in words


def endure(trials: type[Trials], folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Try for so many seconds, once at least; what was tried, what was survived, and what was not, in words."""
    folder.mkdir()
    end = time.monotonic() + seconds
    made = trials(folder, random.Random(seed))
    tried, lost = 0, []
    try:
        while not tried or time.monotonic() < end:
            for wrong in made.attempt(min(end - time.monotonic(), 10)):
                tried += 1
                if wrong is not None:
                    lost.append(wrong)
    finally:
        made.close()
    return {
        "what": trials.what,
        "held": trials.held,
        "tried": tried,
        "survived": tried - len(lost),
        "lost": lost[:_KEPT],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The table of the page of docs."""
    lines = ["| what was done | tried | survived | survived is |", "|---|---|---|---|"]
    lines += [f"| {row['what']} | {row['tried']:,} | {row['survived']:,} | {row['held']} |" for row in result["rows"]]
    return "\n".join(lines)


def run(minutes: float, seed: int, say: Callable[[str], object] = print) -> dict[str, Any]:
    """All kinds of trials, each for its share of the time."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, trials in enumerate(TRIALS):
            row = endure(trials, Path(folder, str(number)), 60 * minutes * trials.share, seed)
            say(f"{row['what']}: {row['survived']} of {row['tried']}")
            for wrong in row["lost"]:
                say(f"  lost: {wrong}")
            rows.append(row)
    return {"minutes": minutes, "seed": seed, "machine": machine(), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3, help="total time, shared among the kinds of trials")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random draws")
    parser.add_argument(
        "--json", type=Path, help="also write the counts to this file, for example under benchmarks/results/"
    )
    arguments = parser.parse_args()
    result = run(arguments.minutes, arguments.seed)
    print(markdown(result))
    if arguments.json:
        write_json(arguments.json, result)
    if any(row["tried"] != row["survived"] for row in result["rows"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
