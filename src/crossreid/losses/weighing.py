"""Losses by name, and how a recipe adds some to a method's own: `losses: {NAME: WEIGHT}`.

A loss registers itself with `register_loss`. Of what is registered those of embeddings can be weighed from a recipe: plain
functions `(features (B, D), labels (B,), *, ...) -> scalar`, which may take `modalities (B,)` as a third argument. Their
keyword-only parameters are their options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, Field, ValidationError, create_model
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.options import Options
from crossreid.registry import Registry

Loss = Callable[..., Tensor]
F = TypeVar("F", bound=Loss)

LOSSES: Registry[Loss] = Registry("loss", "crossreid.losses", package="crossreid.losses")


def register_loss(name: str) -> Callable[[F], F]:
    """Register the function below as the loss that recipes call `name`.

    Raises:
        PluginError: one of another module has the name.
    """
    return cast(Callable[[F], F], LOSSES.register(name))


def checked_weights(given: dict[str, Any]) -> dict[str, Any]:
    """What a recipe says under `losses`, with the values that each loss's options have by type.

    Raises:
        CrossreidError: an unknown loss or option, a value that its option cannot have, or a loss of something else than
            embeddings and labels.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        known = _options_of(name, LOSSES.find(name))
        options = value if isinstance(value, dict) else {"weight": value}
        try:
            valid = known.model_validate(options)
        except ValidationError as error:
            raise CrossreidError(f"loss {name!r}: {_explained(error, list(known.model_fields))}") from error
        found = valid.model_dump(exclude_unset=True)
        checked[name] = found if isinstance(value, dict) else found["weight"]
    return checked


LossWeights = Annotated[
    dict[str, float | dict[str, Any]],
    AfterValidator(checked_weights),
    Field(
        description="Registered losses of features and labels to add, by name: a weight, or a mapping of `weight` and the "
        "loss's own options."
    ),
]


def weighted_losses(
    weights: Mapping[str, Any],
    features: Tensor,
    labels: Tensor,
    modalities: Tensor | None = None,
    *,
    taken: Collection[str] = (),
) -> dict[str, Tensor]:
    """The losses that a recipe adds, weighted, by name; `losses.NAME` where `taken` has the name already.

    Args:
        weights: what the recipe says, checked.
        features: `(B, D)`; labels: `(B,)`; modalities: `(B,)`, for losses that take them.
    """
    terms = {}
    for name, value in weights.items():
        options = dict(value) if isinstance(value, dict) else {"weight": value}
        weight = options.pop("weight", 1.0)
        given = (features, labels, modalities) if _takes_modalities(LOSSES[name]) else (features, labels)
        terms[f"losses.{name}" if name in taken else name] = weight * LOSSES[name](*given, **options)
    return terms


def refuse_modality_losses(weights: dict[str, Any], reason: str) -> dict[str, Any]:
    """`weights`, none of whose losses takes modalities.

    Raises:
        CrossreidError: one does.
    """
    for name in weights:
        if _takes_modalities(LOSSES[name]):
            raise CrossreidError(f"loss {name!r} compares modalities, which this method cannot give it: {reason}.")
    return weights


def _takes_modalities(loss: Loss) -> bool:
    return "modalities" in inspect.signature(loss).parameters


def _options_of(name: str, loss: Loss) -> type[Options]:
    """The weight and the keyword-only parameters of a loss, as a section of a recipe."""
    parameters = list(inspect.signature(loss, eval_str=True).parameters.values())
    inputs = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if inputs not in (["features", "labels"], ["features", "labels", "modalities"]):
        raise CrossreidError(
            f"loss {name!r} takes ({', '.join(inputs)}). A recipe can add losses that take (features, labels) or (features, "
            "labels, modalities), and options by keyword only."
        )
    fields: dict[str, Any] = {
        p.name: (Any if p.annotation is p.empty else p.annotation, ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }
    return create_model("LossOptions", __base__=Options, weight=(float, Field(1.0, ge=0)), **fields)


def _explained(error: ValidationError, known: list[str]) -> str:
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(key, known, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        return f"option {key!r} is unknown.{guess} Known: {', '.join(known)}."
    return f"option {key!r}: {fault['msg']}, found {fault['input']!r}."
