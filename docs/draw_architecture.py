"""Draws docs/figures/architecture.svg, the rooms of the package and their arrows, from the import rules in pyproject.toml.

python docs/draw_architecture.py
"""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "figures" / "architecture.svg"
ROOMS = {
    "cli": "parses, calls one function, prints",
    "demo": "all of it on a rendered world",
    "reporting": "tables, figures, the report",
    "service": "a gallery over HTTP, and its page",
    "analysis": "numbers of trained runs",
    "studies": "many runs, one table",
    "watching": "videos to identities",
    "clustering": "who is who, unlabelled",
    "fusion": "several scores as one",
    "galleries": "embeddings kept, filtered, searched",
    "inference": "networks that embed, and their export",
    "runs": "recipes trained into folders, opened, scored",
    "evaluation": "arrays in, scores out",
    "training": "state, step, epoch; knows no data set and no score",
    "methods": "one published system per file: losses, embed",
    "models": "backbones, necks, heads, attention",
    "losses": "plain functions of tensors",
    "data": "from files to batches; readers; the rendered world",
    "options": "typed sections",
    "terminal": "what is printed",
    "quiet": "others' advice",
    "registry": "extension points",
    "files": "written whole",
    "extras": "optional libraries",
    "processors": "how many this process may use",
    "errors": "messages for users",
}
# Above `runs` there are two arms that do not know each other: what is learned of runs, and what is served of them.
ARMS = (
    ("reporting", "studies", "analysis"),
    ("service", "watching", "clustering", "fusion", "galleries", "inference"),
)
WIDTH, HEIGHT, GAP, LEFT = 920, 44, 16, 28


def layers() -> list[list[str]]:
    """The rooms from the top down, those of one layer side by side."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (order,) = (rule["layers"] for rule in rules if rule["type"] == "layers")
    return [[name.strip().removeprefix("crossreid.") for name in row.split("|")] for row in order]


def boxes(row: list[str]) -> list[tuple[float, float, str]]:
    """Left edge, width and room of each box of a layer; a layer with rooms of the arms has them on their side."""
    whole = WIDTH - LEFT - GAP
    half = (whole - GAP) / 2
    sides = [
        (LEFT, half, [r for r in row if r in ARMS[0]]),
        (LEFT + half + GAP, half, [r for r in row if r in ARMS[1]]),
    ]
    if not any(rooms for _, _, rooms in sides):
        sides = [(LEFT, whole, row)]
    found = []
    for start, space, rooms in sides:
        for column, room in enumerate(rooms):
            width = (space - GAP * (len(rooms) - 1)) / len(rooms)
            found.append((start + column * (width + GAP), width, room))
    return found


def picture() -> str:
    rows = layers()
    height = len(rows) * (HEIGHT + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" role="img" aria-label="Rooms of crossreid: each imports only from those below it">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
        '<path d="M0,0 L6,3 L0,6 z" fill="#667"/></marker></defs>',
        f'<path d="M{LEFT - 8},{height - GAP} V{GAP + 4}" stroke="#667" stroke-width="1.5" marker-end="url(#tip)"/>',
    ]
    for number, row in enumerate(rows):
        top = GAP + number * (HEIGHT + GAP)
        for left, width, room in boxes(row):
            fill = "#e8ecff" if (ROOT / "src" / "crossreid" / room).is_dir() else "#f4f4f4"
            middle = left + width / 2
            parts += [
                f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="#99a"/>',
                f'<text x="{middle:.0f}" y="{top + 18}" text-anchor="middle" font-size="14" font-weight="bold">{room}</text>',
                f'<text x="{middle:.0f}" y="{top + 35}" text-anchor="middle" font-size="11" fill="#445">'
                f"{escape(ROOMS[room])}</text>",
            ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
