"""What of a recipe's network MindSpore has here, and what of its training; all else is refused by its key, without MindSpore."""

from __future__ import annotations

from typing import Any

from crossreid.errors import CrossreidError
from crossreid.extras import require
from crossreid.methods.variational_distillation import VariationalDistillationOptions
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbone_registry import BACKBONES
from crossreid.runs.recipe import Recipe

METHOD = "variational_distillation"
# Keys of `method.backbone` that are as they are by default in every network here.
_LEFT_OUT = ("attention", "non_local", "mixstyle", "transformer", "lora", "domain_norm")
# Keys of `training` that this framework knows one value of.
_ONLY: dict[str, Any] = {
    "precision": "32-true",
    "matmul_precision": None,
    "accumulate": 1,
    "ema": None,
    "compile": False,
    "checkpoint_activations": False,
    "freeze_batch_statistics": False,
    "freeze": (),
    "unfreeze_after": None,
    "devices": 1,
    "nodes": 1,
}


def require_mindspore() -> None:
    """Raise `CrossreidError` where MindSpore is not installed."""
    require("MindSpore's part of crossreid", "mindspore")


def refuse_unsupported(recipe: Recipe) -> None:
    """Raise `CrossreidError` for the first key of a recipe that MindSpore does not train by here."""
    refuse_network(recipe, "--framework mindspore")
    options = recipe.training
    if recipe.teacher is not None:
        raise CrossreidError(
            "--framework mindspore: the recipe has a `teacher` section, expected a single run without one."
        )
    for key, expected in _ONLY.items():
        found = getattr(options, key)
        if found != expected:
            raise CrossreidError(
                f"--framework mindspore: training.{key} is {_written(found)}, expected {_written(expected)}; use torch for others."
            )
    if options.accelerator == "cuda":
        raise CrossreidError(
            "--framework mindspore: training.accelerator is cuda, expected auto (the device that MindSpore was built for) or cpu."
        )


def refuse_network(recipe: Recipe, what: str = "MindSpore") -> None:
    """Nothing where the network of a recipe can be built in MindSpore; layers are looked at when it is.

    Args:
        what: was asked for, for the message.

    Raises:
        CrossreidError: it cannot, for the key that is named.
    """
    method = recipe.method
    if not isinstance(method, VariationalDistillationOptions):
        raise CrossreidError(f"{what}: the method is {method.name}, expected {METHOD}; use torch for others.")
    if method.stages is not None:
        raise CrossreidError(
            f"{what}: method.stages asks for two streams, expected null, which is three encoders; use torch for others."
        )
    backbone = method.backbone
    if backbone.name in BACKBONES:
        raise CrossreidError(
            f"{what}: method.backbone.name is {backbone.name}, a registered network, expected one of timm's ResNets; use torch "
            "for others."
        )
    for key in _LEFT_OUT:
        expected, found = BackboneOptions.model_fields[key].default, getattr(backbone, key)
        if found != expected:
            raise CrossreidError(
                f"{what}: method.backbone.{key} is {found}, expected its default. Leave it out, or use torch."
            )


def _written(value: Any) -> str:
    return "null" if value is None else str(list(value) if isinstance(value, tuple) else value).lower()
