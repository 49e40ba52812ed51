"""What a command does not load: half of a command's wait is for modules, and one import at the top of a file brings all of it back."""

import subprocess
import sys

import numpy as np
import pytest

from crossreid.data.synthetic.world import synthesise

HEAVY = ("torch", "torchvision", "timm", "scipy", "sklearn", "numba", "matplotlib", "pyarrow", "lightning_fabric")
COMMAND = """
import atexit, sys
atexit.register(lambda: print("LOADED", *sys.modules))
from crossreid.cli import main
main(sys.argv[1:])
"""


def loaded(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("LOADED ")[2].split()


@pytest.fixture
def embeddings(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("queries", 30), ("gallery", 60)):
        ids, cameras = rng.integers(0, 6, count), rng.integers(1, 5, count)
        np.savez(tmp_path / f"{name}.npz", embeddings=rng.normal(size=(count, 8)), identities=ids, cameras=cameras)
    return tmp_path


def test_help_loads_no_array_and_no_network():
    assert not {*HEAVY, "numpy"} & set(loaded(COMMAND, "--help"))


def test_a_small_ranking_loads_no_torch_and_no_compiler(embeddings):
    sides = ("--queries", embeddings / "queries.npz", "--gallery", embeddings / "gallery.npz")
    found = loaded(COMMAND, "rank", *sides, "--protocol", "market-1501")
    assert "crossreid.evaluation.ranking" in found
    assert not {*HEAVY} & set(found)


def test_a_copy_is_checked_without_torch(tmp_path):
    world = synthesise(tmp_path / "world", "sysu-mm01", 6, 0, images_per_camera=2, size=(64, 32), workers=1)
    found = loaded(COMMAND, "check", "sysu-mm01", world)
    assert "crossreid.data.checking" in found
    assert not {*HEAVY} & set(found)


def test_what_embeds_and_serves_loads_neither_figures_nor_the_compilers_and_paths_never_what_reads_stores(tmp_path):
    code = """
import sys
from pathlib import Path
import crossreid.inference.embed, crossreid.inference.sources, crossreid.data.addresses as addresses
from crossreid.cli.app import app
folder = Path(sys.argv[1])
addresses.write_whole(folder / "a", [b"x"])
assert addresses.names_in(addresses.place_of(f"file://{folder}")) == ["a"]
assert not {"fsspec", "s3fs", "aiobotocore", "gcsfs", "ray"} & {*sys.modules}
import crossreid.service.application
print("LOADED", *sys.modules)
"""
    unwanted = {"scipy", "sklearn", "numba", "matplotlib", "captum", "pandas", "tensorboard", "torch._dynamo", "triton"}
    assert not (unwanted | {"lightning_fabric"}) & set(loaded(code, tmp_path))
