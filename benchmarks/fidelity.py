"""Runs every fixture of the authors' releases and writes docs/fidelity.md: release, ours, the largest difference.

    python benchmarks/fidelity.py --write

The fixtures are the numbers in tests/parity; its modules compute ours and list the remaining differences from the
releases.
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

Every setting named `official` is compared with numbers computed by the authors' released functions: inputs, outputs and
gradients in `tests/parity`. Each row is a group of them. "release" and "ours" are the largest entry of the group's
first output. The difference is the largest in the group, as a share of the largest entry of its tensor. "allowed" is
the tolerance of the tests: 1e-5, or the uncertainty of the release's own arithmetic.

Command: `python benchmarks/fidelity.py --write`.
"""


def table(module: str) -> list[str]:
    """The rows of one method's fixtures, one line per case, and the remaining differences."""
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
        "Remaining differences from the release:",
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
