"""Writes docs/results.md: every table of accuracy in benchmarks/results/, its source, and what was never run.

    python benchmarks/results_page.py --write

`benchmarks/results/sources.yaml` gives the images, weights and command of each file. A file that it does not list, or a
listed file that is missing, is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

import fusion
from crossreid.errors import CrossreidError
from crossreid.files import write_text
from crossreid.reporting.study_table import markdown_table, spread
from crossreid.runs.shipped import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "results.md"
HEAD = """# Results

Every table of accuracy that this project has measured, with its images, networks, weights, command, date and machine.
`python benchmarks/results_page.py --write` writes this page from the raw numbers in `benchmarks/results/`. The page
that a table links to says what it means. Figures are in percent; with several seeds they are mean ± standard deviation.

Nothing here was measured on the public data sets that most recipes are for, as none was available: [never
run](#never-run) lists those recipes. Figures for rendered people with random initial weights compare methods under
those conditions only; they do not predict scores on photographs.
"""


def sources() -> dict[str, dict[str, Any]]:
    """What `sources.yaml` says of each results file.

    Raises:
        CrossreidError: files and descriptions do not match.
    """
    described = yaml.safe_load((RESULTS / "sources.yaml").read_text(encoding="utf-8"))
    there = {path.name for path in RESULTS.glob("*.json")}
    if there != described.keys():
        raise CrossreidError(
            "benchmarks/results/sources.yaml does not match its folder: not described "
            f"{sorted(there - described.keys())}, not there {sorted(described.keys() - there)}."
        )
    return described


def page() -> str:
    described = sources()
    tables = {name: about for name, about in described.items() if "rows" in about}
    lines = [HEAD, "| table | data | backbone | weights | seeds | date |", "|---|---|---|---|---|---|"]
    sections = []
    for name, about in tables.items():
        held = json.loads((RESULTS / name).read_text(encoding="utf-8"))
        body, seeds = READERS[about["rows"]](held)
        day = about.get("date") or (held.get("scored") or held["machine"]["date"]).split()[0]
        where = about.get("machine") or f"{held['machine']['cores']} cores, {held['machine']['processor']}"
        cells = [about[key] for key in ("data", "backbone", "weights")]
        lines.append(f"| [{about['title']}](#{_anchor(about['title'])}) | {' | '.join(cells)} | {seeds} | {day} |")
        more = f" Discussed in {_link(about['page'])}." if "page" in about else ""
        sections.append(
            f"## {about['title']}\n\nData: {about['data']}. Backbone: {about['backbone']}. Weights: {about['weights']}. "
            f"Seeds: {seeds}."
            f"{more}\n\n```text\n{about['command']}\n```\n\n{day}, {where}; raw numbers in `benchmarks/results/{name}`.\n\n{body}"
        )
    lines += ["", *sections, _besides(described), _never_run()]
    return _filled("\n".join(lines)).rstrip() + "\n"


def _filled(text: str) -> str:
    """The page with long lines of prose broken at 120 columns; tables, headings and commands stay as they are."""
    lines, command = [], False
    for line in text.split("\n"):
        command ^= line.startswith("```")
        prose = len(line) > 120 and not command and not line.startswith(("|", "#"))
        lines += textwrap.wrap(line, 120, break_long_words=False, break_on_hyphens=False) if prose else [line]
    return "\n".join(lines)


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def _study(held: Mapping[str, Any]) -> tuple[str, str]:
    return markdown_table(held), _seeds(seed for row in held["rows"] for seed in row["seeds"])


def _sized_study(held: Mapping[str, Any]) -> tuple[str, str]:
    """A study whose file also has the size of the images, and the length of a training in epochs or steps."""
    body, seeds = _study(held["table"])
    length = f"{held['epochs']} epochs" if "epochs" in held else f"{held['steps']} steps"
    return f"{body}\n{held['size']} pixels, {length}.\n", seeds


def _variants(held: Mapping[str, Any]) -> tuple[str, str]:
    """Rows of one run each: those of one name are one line."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in held["rows"]:
        found.setdefault(row["row"], []).append(row)
    lines = ["| row | changes | runs | rank-1 | mAP | mINP |", "|---|---|---:|---:|---:|---:|"]
    for name, rows in found.items():
        changes = rows[0]["changes"]
        said = changes.items() if isinstance(changes, Mapping) else [change.split("=", 1) for change in changes]
        shown = ", ".join(f"`{key}={value}`" for key, value in said) or "none"
        figures = [spread([row[key] for row in rows]) for key in ("rank-1", "mAP", "mINP")]
        lines.append(f"| {name} | {shown} | {len(rows)} | {' | '.join(figures)} |")
    where = f"{held['size']} pixels, {held['epochs']} epochs."
    return "\n".join([*lines, "", where, ""]), _seeds(row["seed"] for row in held["rows"])


def _scores(held: Mapping[str, Any]) -> tuple[str, str]:
    """One run of each method, beside the network as it was before training and raw pixels."""
    keys = ("rank-1", "rank-10", "mAP", "mINP")
    lines = [f"| | {' | '.join(keys)} |", f"|---|{'---:|' * len(keys)}"]
    for name, score in held["scores"].items():
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(spread([score[key]]) for key in keys)} |")
    one = next(iter(held["scores"].values()))
    chance = f"{100 * one['chance-rank-1']:.1f}"
    about = f"{one['protocol']}, {one['setting']}, not re-ranked; {one['valid_queries']} queries; chance {chance}."
    return "\n".join([*lines, "", about, ""]), "0"


def _starts(held: Mapping[str, Any]) -> tuple[str, str]:
    """Runs by how they start and by the images per identity that they learn from."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in held["rows"]:
        found.setdefault((row["images"], row["way"]), []).append(row)
    lines = [
        "| images per identity and modality | start | runs | rank-1 | mAP | mINP |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (images, way), rows in found.items():
        figures = [spread([row[key] for row in rows]) for key in ("rank-1", "mAP", "mINP")]
        lines.append(f"| {images} | {way} | {len(rows)} | {' | '.join(figures)} |")
    tested = held["tested"]
    where = f"{held['size']} pixels, {held['steps']} steps; "
    where += f"{tested['infrared']} night images are queries, {tested['visible']} day images the gallery."
    return "\n".join([*lines, "", where, ""]), _seeds(row["seed"] for row in held["rows"])


def _networks(held: Mapping[str, Any]) -> tuple[str, str]:
    """What networks find without any training here, on several sets of photographs."""
    keys = ("rank-1", "mAP", "mINP")
    lines = [f"| photographs | network | {' | '.join(keys)} |", f"|---|---|{'---:|' * len(keys)}"]
    for title in dict.fromkeys(title for each in held["scores"].values() for title in each):
        for name, each in held["scores"].items():
            for row, score in each.get(title, {}).items():
                if row != "chance":
                    figures = [spread([score[key]]) for key in keys]
                    lines.append(f"| {title} | {name}, {row.lower()} | {' | '.join(figures)} |")
    chances = {
        title: f"{100 * found['chance']:.1f}" for each in held["scores"].values() for title, found in each.items()
    }
    about = "; ".join(f"{title}: {chance}" for title, chance in chances.items())
    return "\n".join([*lines, "", f"By cosine distance, not re-ranked. Rank-1 by chance: {about}.", ""]), "none"


def _fusion(held: Mapping[str, Any]) -> tuple[str, str]:
    """Ways of ranking by several scores, on halves of the animals: mean of both directions, spread over splits."""
    keys = fusion.KEYS
    lines = [f"| photographs | ranked by | {' | '.join(keys)} |", f"|---|---|{'---:|' * len(keys)}"]
    for data, ways in fusion.summary(held["rows"]).items():
        for way, figures in ways.items():
            lines.append(f"| {data} | {way} | {' | '.join(spread(figures[key]) for key in keys)} |")
    about = f"Not re-ranked; shortlist of {held['shortlist']}; seeds are of the halves."
    return "\n".join([*lines, "", about, ""]), _seeds(row["split"] for row in held["rows"])


READERS = {
    "study": _study, "sized_study": _sized_study, "variants": _variants, "scores": _scores, "starts": _starts,
    "networks": _networks, "fusion": _fusion,
}  # fmt: skip


def _link(page: str) -> str:
    """A link to a page of docs/ by its title."""
    title = (PAGE.parent / page).read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
    return f"[{title}]({page})"


def _seeds(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(seeds))))


def _besides(described: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["## Measured besides accuracy", "", "| what | raw numbers | page |", "|---|---|---|"]
    for name, about in described.items():
        if "rows" not in about:
            link = _link(about["page"]) if "page" in about else ""
            lines.append(f"| {about['title']} | `benchmarks/results/{name}` | {link} |")
    return "\n".join([*lines, ""])


def _never_run() -> str:
    """The recipes of public data sets, with what their headers say is published."""
    lines = [
        "## Never run",
        "",
        "This project has run none of the recipes below on its data set. [Fidelity](fidelity.md) says what the losses of "
        "`official` recipes are compared with. Published figures are those in the recipes' headers.",
        "",
        "| recipe | data set | published |",
        "|---|---|---|",
    ]
    for path in sorted(SHIPPED.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        recipe = yaml.safe_load(text)
        data = recipe["data"]
        if "synthetic" in path.name or data["name"] == "manifest" or str(data["root"]).startswith("data/films"):
            continue
        lines.append(f"| {path.name} | {data['name']} | {_published(text)} |")
    return "\n".join([*lines, ""])


def _published(text: str) -> str:
    """The header's sentence that begins with `Published`, in one line."""
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    start = next((i for i, line in enumerate(comments) if line.startswith("Published")), None)
    if start is None:
        return ""
    words = " ".join(comments[start:]).removeprefix("Published").removeprefix(":").strip()
    return words.replace("|", "/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/results.md instead of printing it")
    try:
        text = page()
    except CrossreidError as error:
        sys.exit(f"error: {error}")
    if parser.parse_args().write:
        write_text(PAGE, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
