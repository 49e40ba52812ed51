"""A world and a recipe so small that of a study only its workings can be tested."""

import pytest

from crossreid.data.synthetic import synthesise
from crossreid.runs.recipe import make_recipe

SAMPLER = {"identities": 2, "images": 4, "epoch": 2}
SMALL = {
    "data": {"name": "sysu-mm01", "height": 32, "width": 16, "workers": 0, "sampler": SAMPLER},
    "method": {"name": "variational_distillation", "backbone": {"name": "test_resnet", "weights": "none"}},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    world = tmp_path_factory.mktemp("world") / "world"
    synthesise(world, "sysu-mm01", 10, 0, images_per_camera=2, size=(32, 16), workers=1)
    return make_recipe({**SMALL, "data": {**SMALL["data"], "root": str(world)}})
