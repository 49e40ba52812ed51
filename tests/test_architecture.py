"""The page on architecture says what is so: its picture is drawn from the import rules, and every room is on it."""

import importlib.util
from pathlib import Path

import crossreid

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(crossreid.__file__).parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def drawing():
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_that_of_the_import_rules():
    drawn = drawing()
    assert drawn.picture() == drawn.PICTURE.read_text(encoding="utf-8"), "run python docs/draw_architecture.py"


def test_every_room_and_every_module_beside_them_has_its_layer():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert {name for row in drawing().layers() for name in row} == rooms | modules


def test_the_page_describes_every_room_and_names_files_that_are_there():
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    described = {line.split("`")[1] for line in rows}
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == described
    for line in rows:
        for named in line.rpartition(" | ")[2].split("`")[1::2]:
            assert (PACKAGE / named).is_file(), named
