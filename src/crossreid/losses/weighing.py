"""Losses by name, and how a recipe adds them to a method's own: `losses: {NAME: WEIGHT}`.

A loss registers itself with `register_loss`. Registered losses of embeddings can be added by a recipe: plain
functions `(features (B, D), labels (B,), *, ...) -> scalar`, which may take `modalities (B,)` as a third argument.
Their keyword-only parameters are their options.

A loss with parameters or memory is an `nn.Module` whose `forward` takes the same arguments and whose constructor
takes `(width, classes, *, ...)`: D, the number of training identities, and its options as keywords. A method holds
those of its recipe in `AddedLosses`, a submodule, so that their parameters are trained and their state is in every
checkpoint.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple, TypeGuard, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, create_model
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.options import Options
from crossreid.registry import Registry

Loss = Callable[..., Tensor] | type[nn.Module]
F = TypeVar("F", bound=Loss)
HELD = "added_losses"  # the attribute of a method that holds its `AddedLosses`

LOSSES: Registry[Loss] = Registry("loss", "crossreid.losses", package="crossreid.losses")
"""Every loss that a recipe can add, by its name in recipes."""


def register_loss(name: str) -> Callable[[F], F]:
    """Register the decorated function or module class as the loss `name` in recipes.

    Raises:
        PluginError: another module has registered the name.
    """
    return cast(Callable[[F], F], LOSSES.register(name))


def checked_weights(given: dict[str, Any]) -> dict[str, Any]:
    """The `losses` section of a recipe, with each loss's options converted to their types.

    Raises:
        CrossreidError: an unknown loss or option, an invalid option value, or a loss of something other than
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


def _refuse_what_is_no_weight(given: Any) -> Any:
    """Return `given`; for a value that is neither a number nor a mapping, pydantic itself would report two errors."""
    for name, value in given.items() if isinstance(given, dict) else ():
        if isinstance(value, dict):
            continue
        try:
            finite = math.isfinite(float(value))
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise CrossreidError(
                f"loss {name!r}: expected a weight, or a mapping of `weight` and options of the loss, found {value!r}."
            )
    return given


LossWeights = Annotated[
    dict[str, float | dict[str, Any]],
    BeforeValidator(_refuse_what_is_no_weight),
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
    modules: Mapping[str, nn.Module] | None = None,
) -> dict[str, Tensor]:
    """The losses that a recipe adds, weighted, by name; `losses.NAME` if `taken` already has the name.

    Args:
        weights: the recipe's section, checked.
        features: `(B, D)`; labels: `(B,)`; modalities: `(B,)`, for losses that take them.
        modules: the losses that are modules, by name.

    Raises:
        CrossreidError: a loss is a module but not among `modules`.
    """
    for name in weights:
        if _is_module(LOSSES[name]) and (modules is None or name not in modules):
            raise CrossreidError(
                f"loss {name!r} has its own state, which this method does not store. Expected a method that holds "
                "`AddedLosses(options.losses, width, classes)` and calls it in place of `weighted_losses`."
            )
    return _terms(_looked_up(weights), modules or {}, (features, labels, modalities), taken)


class _Added(NamedTuple):
    """A loss that a recipe adds; `loss` is None for a module. Looked up once, so the compiler need not trace it."""

    name: str
    weight: float
    loss: Callable[..., Tensor] | None
    options: dict[str, Any]
    inputs: int


def _looked_up(weights: Mapping[str, Any]) -> list[_Added]:
    added = []
    for name, value in weights.items():
        loss, (weight, options) = LOSSES[name], _weight_and_options(value)
        function = None if _is_module(loss) else cast(Callable[..., Tensor], loss)
        added.append(_Added(name, weight, function, options, 3 if _takes_modalities(loss) else 2))
    return added


def _terms(
    losses: Iterable[_Added],
    modules: Mapping[str, nn.Module],
    given: tuple[Tensor, Tensor, Tensor | None],
    taken: Collection[str],
) -> dict[str, Tensor]:
    terms = {}
    for name, weight, loss, options, inputs in losses:
        term = modules[name](*given[:inputs]) if loss is None else loss(*given[:inputs], **options)
        terms[f"losses.{name}" if name in taken else name] = weight * term
    return terms


class AddedLosses(nn.ModuleDict):
    """The losses that a recipe adds, with the parameters and the memory of those that are modules.

    A method holds it under the name `added_losses`. It has no tensors if no loss is a module, and then does not change
    checkpoints.

    Args:
        weights: the recipe's section, checked.
        width: D of the features, None if the method does not know it; classes: training identities.

    Raises:
        CrossreidError: a loss is a module, and D is not known.
    """

    def __init__(self, weights: Mapping[str, Any], width: int | None, classes: int) -> None:
        made = {}
        for name, value in weights.items():
            loss = LOSSES[name]
            if not _is_module(loss):
                continue
            if width is None:
                raise CrossreidError(
                    f"loss {name!r} keeps a state as wide as the features, but here the width is that of another method's network. "
                    "Leave it out, or use the method's own network."
                )
            made[name] = loss(width, classes, **_weight_and_options(value)[1])
        super().__init__(made)
        self.weights = dict(weights)
        self._losses = _looked_up(weights)

    def forward(
        self, features: Tensor, labels: Tensor, modalities: Tensor | None = None, *, taken: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """`weighted_losses` of the features `(B, D)` of all processes, gathered."""
        return _terms(self._losses, self._modules, (features, labels, modalities), taken)  # type: ignore[arg-type]


def is_state_of_losses(name: str) -> bool:
    """Whether a tensor of a checkpoint, by its name, is state of an added loss, which only its own run can use."""
    return HELD in name.split(".")


def _weight_and_options(value: Any) -> tuple[float, dict[str, Any]]:
    options = dict(value) if isinstance(value, dict) else {"weight": value}
    return options.pop("weight", 1.0), options


def refuse_modality_losses(weights: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return `weights` if none of its losses takes modalities.

    Raises:
        CrossreidError: one does.
    """
    for name in weights:
        if _takes_modalities(LOSSES[name]):
            raise CrossreidError(f"loss {name!r} compares modalities, which this method cannot provide: {reason}.")
    return weights


def _is_module(loss: Loss) -> TypeGuard[type[nn.Module]]:
    return isinstance(loss, type)


def _takes_modalities(loss: Loss) -> bool:
    return "modalities" in inspect.signature(loss.forward if _is_module(loss) else loss).parameters


def _options_of(name: str, loss: Loss) -> type[Options]:
    """The weight and the keyword-only parameters of a loss, as a section of a recipe."""
    parameters = list(inspect.signature(loss, eval_str=True).parameters.values())
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    inputs = positional
    if _is_module(loss):
        if positional != ["width", "classes"]:
            raise CrossreidError(
                f"loss {name!r} is constructed with ({', '.join(positional)}). Expected (width, classes), and keyword-only options."
            )
        inputs = list(inspect.signature(loss.forward).parameters)[1:]
    if inputs not in (["features", "labels"], ["features", "labels", "modalities"]):
        raise CrossreidError(
            f"loss {name!r} takes ({', '.join(inputs)}). A recipe can add losses that take (features, labels) or (features, "
            "labels, modalities), and keyword-only options."
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
