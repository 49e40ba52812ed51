"""Pages are written in lines of at most 120 columns; tables, commands and the captions that studies print are longer."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "architecture",
    "datasets",
    "evaluation",
    "extending",
    "fidelity",
    "fine_tuning",
    "fusion",
    "implicit_knowledge",
    "index",
    "losses",
    "mindspore",
    *(f"methods/{path.stem}" for path in sorted((ROOT / "docs" / "methods").glob("*.md"))),
    "networks",
    "open_set",
    "recipes",
    "results",
    "several_data_sets",
    "shortest_paths",
    "transformers",
    "tutorial",
    "video",
    "watching",
]


def prose(text: str) -> list[str]:
    """The lines that are in no block of code, table or heading, and no caption of a study's table."""
    lines, code = [], False
    for line in text.splitlines():
        code ^= line.startswith("```")
        if not code and not line.startswith(("|", "#", "![")) and not line.endswith("are of the same seeds."):
            lines.append(line)
    return lines


@pytest.mark.parametrize("page", [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in PAGES)])
def test_prose_is_within_120_columns(page):
    lines = prose(page.read_text(encoding="utf-8"))
    assert lines
    assert [line for line in lines if len(line) > 120] == []
