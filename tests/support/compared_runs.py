"""Runs to compare, trained for four steps on small worlds, once for all tests: two seeds, two trials, two divisions of a manifest."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from crossreid.data.synthetic import synthesise
from crossreid.runs.recipe import make_recipe
from crossreid.runs.train import train


def recipe(root, name, seed=0, *, balance="modality", epochs=1, options=None):
    sampler = {"identities": 2, "images": 2, "balance": balance, "epoch": 4}
    data = {
        "name": name,
        "root": str(root),
        "height": 32,
        "width": 16,
        "workers": 0,
        "sampler": sampler,
        "options": options or {},
    }
    method = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    training = {"epochs": epochs, "seed": seed, "precision": "32-true"}
    return make_recipe({"data": data, "method": method, "training": training})


@functools.cache
def made():
    """The folder with `a` and `b`, seeds on SYSU-MM01's layout; `r`, RegDB's trials 1 and 2; `m` and `n`, a manifest divided twice."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, True)
    for layout, name in (("sysu-mm01", "sysu"), ("regdb", "regdb"), ("manifest", "own")):
        synthesise(folder / name, layout, 10, 0, images_per_camera=2, size=(32, 16), workers=1)
    manifest = folder / "own" / "manifest.csv"  # without its column split, so that the reader divides it
    manifest.write_text("".join(f"{row.rpartition(',')[0]}\n" for row in manifest.read_text().splitlines()))
    for seed, name in enumerate("ab"):
        train(recipe(folder / "sysu", "sysu-mm01", seed), folder / name)
        train(recipe(folder / "own", "manifest", balance="none", options={"seed": seed}), folder / "mn"[seed])
    train(recipe(folder / "regdb", "regdb"), folder / "r", trials=[1, 2])
    return folder


def copied(tmp_path, *names):
    """Copies of some of them, for tests that write into them; data sets stay where they are."""
    for name in names:
        shutil.copytree(made() / name, tmp_path / name)
    return [tmp_path / name for name in names]
