"""Runs every fixture of the authors' releases and writes docs/fidelity.md: release, ours, the largest difference.

    python benchmarks/fidelity.py --write

The fixtures are the numbers in tests/parity; its modules compute ours and say what stays other than in the releases.
"""

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fidelity.md"
METHODS = {
    "vd_cases": "Variational distillation",
    "vkd_cases": "Views knowledge distillation, and evaluation by its protocols",
    "idkl_cases": "Implicit discriminative knowledge (IDKL)",
    "agw_cases": "AGW and channel augmented joint learning (CAJ)",
}
HEAD = """# Fidelity

Every setting named `official` is held against numbers that the authors' released functions gave: inputs, outputs and gradients in
`tests/parity`. A row is a group of them; release and ours are the largest entry of the group's first output, the difference is the
largest of the group, as a share of the largest entry of its tensor, and allowed is what the tests let through: 1e-5, or what the
release's own arithmetic leaves uncertain.

Command: `python benchmarks/fidelity.py --write`.
"""


def table(module: str) -> list[str]:
    """The rows of one method's fixtures, those of one case in one line, and what stays otherwise."""
    cases = importlib.import_module(module)
    groups: dict[str, list] = {}
    for row in track(cases.rows(), module, console=Console(stderr=True)):
        groups.setdefault(row.quantity.partition(":")[0], []).append(row)
    lines = [
        f"## {METHODS[module]}",
        "",
        "| quantity | outputs | release | ours | largest difference | allowed | setting |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, rows in groups.items():
        first, worst = rows[0], max(rows, key=lambda row: row.difference)
        lines.append(
            f"| {name} | {len(rows)} | {first.release:.6g} | {first.ours:.6g} | {worst.difference:.1e} | "
            f"{worst.tolerance:.1e} | {first.setting} |"
        )
    lines += [
        "",
        "What stays other than in the release:",
        "",
        "| what | release | ours | reason |",
        "|---|---|---|---|",
    ]
    lines += [f"| {d.quantity} | {d.release} | {d.ours} | {d.reason} |" for d in cases.DEVIATIONS]
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/fidelity.md instead of printing it")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT / "tests" / "parity"), str(ROOT / "tests" / "support")]
    text = "\n".join([HEAD, *(line for module in METHODS for line in table(module))])
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
