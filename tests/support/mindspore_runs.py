"""A tiny world and recipe that MindSpore trains by in seconds."""

from pathlib import Path

from crossreid.data.synthetic import synthesise
from crossreid.runs.recipe import make_recipe


def tiny_world(folder: Path) -> Path:
    return synthesise(folder, "sysu-mm01", 12, 0, images_per_camera=1, size=(32, 16), workers=1)


def tiny_recipe(root, *overrides, setting="crossreid"):
    return make_recipe(
        {
            "data": {
                "name": "sysu-mm01", "root": str(root), "height": 32, "width": 16, "workers": 0,
                "sampler": {"identities": 6, "images": 2},
            },
            "method": {
                "name": "variational_distillation", "setting": setting,
                "backbone": {"name": "test_resnet", "weights": "none"},
            },
            "training": {
                "epochs": 2, "accelerator": "cpu", "checkpoint_steps": 2, "optimiser": {"name": "adam", "lr": 1e-3},
                "schedule": {"kind": "cosine", "warmup_epochs": 1},
            },
        },
        overrides,
    )  # fmt: skip
