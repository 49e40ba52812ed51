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


def loaded(*arguments):
    return said_by(COMMAND, *arguments).rpartition("LOADED ")[2].split()


def said_by(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def embeddings(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("queries", 30), ("gallery", 60)):
        ids, cameras = rng.integers(0, 6, count), rng.integers(1, 5, count)
        np.savez(tmp_path / f"{name}.npz", embeddings=rng.normal(size=(count, 8)), identities=ids, cameras=cameras)
    return tmp_path


def test_help_loads_no_array_and_no_network():
    assert not {*HEAVY, "numpy"} & set(loaded("--help"))


def test_a_small_ranking_loads_no_torch_and_no_compiler(embeddings):
    sides = ("--queries", embeddings / "queries.npz", "--gallery", embeddings / "gallery.npz")
    found = loaded("rank", *sides, "--protocol", "market-1501")
    assert "crossreid.evaluation.ranking" in found
    assert not {*HEAVY} & set(found)


def test_a_copy_is_checked_without_torch(tmp_path):
    world = synthesise(tmp_path / "world", "sysu-mm01", 6, 0, images_per_camera=2, size=(64, 32), workers=1)
    found = loaded("check", "sysu-mm01", world)
    assert "crossreid.data.checking" in found
    assert not {*HEAVY} & set(found)


UNWANTED = """
import sys, torch
from pathlib import Path

disable = torch.compiler.disable
import crossreid.models.backbones
assert torch.compiler.disable is disable

import crossreid.inference.embed, crossreid.inference.sources, crossreid.data.addresses as addresses
from crossreid.cli.app import app
folder = Path(sys.argv[1])
addresses.write_whole(folder / "a", [b"x"])
assert addresses.names_in(addresses.place_of(f"file://{folder}")) == ["a"]
assert not {"fsspec", "s3fs", "aiobotocore", "gcsfs", "ray"} & {*sys.modules}
import crossreid.service.application
unwanted = {"scipy", "sklearn", "numba", "matplotlib", "captum", "pandas", "tensorboard", "torch._dynamo", "triton",
            "lightning_fabric"}
print(*unwanted & {*sys.modules})

for name in ("open_model", "evaluate", "embed"):
    getattr(crossreid, name)
print(*(name for name in ("timm", "torchvision", "torch._dynamo", "sympy", "scipy.io") if name in sys.modules))

import timm
from timm.models.naflexvit import NaFlexRopeIterator
from torchvision.ops import roi_align

network = timm.create_model("test_resnet", num_classes=3).eval()
images = torch.randn(2, 3, 32, 32)
with torch.no_grad():
    assert torch.allclose(torch.compile(network, backend="eager")(images), network(images), atol=1e-5)
print(*roi_align(images, [torch.tensor([[0.0, 0.0, 8.0, 8.0]])] * 2, output_size=2).shape)

import torch._dynamo.utils
print(torch._dynamo.utils.is_compile_supported("cpu"), hasattr(torch._dynamo.utils, "counters"))
print(NaFlexRopeIterator.__next__.__name__)
"""


@pytest.mark.slow
def test_what_opens_scores_embeds_and_serves_loads_no_compiler_and_what_was_put_off_is_there_when_it_is_asked_for(
    tmp_path,
):
    """Nor does it load figures, and paths never what reads stores.

    Slow: in the end it imports the compiler. A compiled network, torchvision's operator, a method that timm does not compile.
    """
    nothing, libraries, *put_off = said_by(UNWANTED, tmp_path).splitlines()
    assert nothing == ""
    assert libraries == "timm torchvision"
    assert put_off == ["2 3 2 2", "True True", "__next__"]
