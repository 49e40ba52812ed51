"""People that a run keeps for validation and a manifest of others, rendered once for the tests of calibrations and of their page."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from crossreid.data.synthetic import synthesise
from crossreid.runs.recipe import make_recipe
from small_model import recipe_of, write_run


@functools.cache
def made():
    """The folder with `world`, 40 people, and `run`, which keeps 8 of them for validation; `mine`, 14 others, without a split."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, True)
    world = synthesise(folder / "world", "sysu-mm01", 40, 0, images_per_camera=2, size=(48, 24), workers=1)
    given = recipe_of("baseline").model_dump(mode="json")
    given["data"]["root"] = str(world)
    write_run(folder / "run", make_recipe(given), classes=22)
    mine = synthesise(folder / "mine", "manifest", 14, 1, images_per_camera=2, size=(48, 24), workers=1)
    rows = [row.split(",") for row in (mine / "manifest.csv").read_text().splitlines()]
    (mine / "manifest.csv").write_text("".join(f"{','.join(row[:4])}\n" for row in rows))
    return folder
