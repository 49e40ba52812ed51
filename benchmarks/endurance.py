"""What is tried to break crossreid, and how often it held: processes killed, files damaged, requests that are meant to harm.

    python benchmarks/endurance.py --minutes 3 --json benchmarks/results/endurance_cpu.json

For about so many minutes, whatever the machine does in them: it counts, and says nothing of speed. Draws depend on --seed, when a
process is killed on the machine too. `endurance_trials.py` beside this says what each trial does and when it is survived.
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
    parser.add_argument("--minutes", type=float, default=3, help="in all, shared among the kinds of trials")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--json", type=Path, help="write the counts here too, for example under benchmarks/results/")
    arguments = parser.parse_args()
    result = run(arguments.minutes, arguments.seed)
    print(markdown(result))
    if arguments.json:
        write_json(arguments.json, result)
    if any(row["tried"] != row["survived"] for row in result["rows"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
