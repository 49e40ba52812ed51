"""Optimisers, their state in a checkpoint, and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.options import Options
from crossreid.training.parameter_groups import parameter_groups
from crossreid.training.rates import as_rates, check


class OptimiserOptions(Options):
    name: Literal["adam", "adamw", "sgd"] = Field("adam", description="The optimiser.")
    lr: float = Field(2.6e-4, gt=0, description="Learning rate after warm-up.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay (in Adam: L2, as published).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    nesterov: bool = Field(False, description="Use Nesterov momentum in SGD.")
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Layer-wise decay: learning rate of an encoder layer as a multiple of the next layer's; null for one "
        "rate.",
    )
    decay_vectors: bool = Field(
        True,
        description="Apply weight decay to biases, scales of norms, positions and class tokens too; transformers are "
        "usually trained with false.",
    )
    rates: dict[str, float] = Field(
        {},
        description="Factors of lr by part: `stem`, `stage1`, `stage2` ... or `backbone` for the encoders, `heads` "
        "for everything else; 1 for parts that are not named.",
    )

    @model_validator(mode="before")
    @classmethod
    def _earlier_key(cls, given: Any) -> Any:
        return as_rates(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _of_parts(self) -> OptimiserOptions:
        check(self.rates)
        return self

    @model_validator(mode="after")
    def _of_sgd(self) -> OptimiserOptions:
        if self.nesterov and (self.name != "sgd" or not self.momentum):
            raise CrossreidError("nesterov is true, expected name sgd and a momentum above 0 with it.")
        return self


class ScheduleOptions(Options):
    kind: Literal["step", "cosine", "constant"] = Field("step", description="Learning-rate schedule after warm-up.")
    warmup_epochs: float = Field(0, ge=0, description="Epochs of linear warm-up.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up, in place of warmup_epochs.")
    warmup_start: float = Field(
        0.01, ge=0, le=1, description="Learning rate at the start of warm-up, as a multiple of lr."
    )
    advance: Literal["step", "epoch"] = Field(
        "step",
        description="`step`: the rate changes every step; `epoch`: it is constant within an epoch, in warm-up the value at "
        "the epoch's end.",
    )
    milestones: tuple[int, ...] = Field(
        (), description="For `step`: epochs after which the rate is multiplied by factor."
    )
    milestone_steps: tuple[int, ...] = Field((), description="For `step`: the same in steps, in place of milestones.")
    factor: float = Field(0.1, gt=0, le=1, description="For `step`: factor that the rate is multiplied by.")

    @model_validator(mode="after")
    def _one_unit_each(self) -> ScheduleOptions:
        for epochs, steps in (("warmup_epochs", "warmup_steps"), ("milestones", "milestone_steps")):
            if getattr(self, epochs) and getattr(self, steps):
                raise CrossreidError(f"{epochs} and {steps}: expected one of them")
        return self


# Settings of a parameter group that affect how it computes, not what.
COMPUTING = ("fused", "foreach", "capturable")


def make_optimiser(method: nn.Module, options: OptimiserOptions, *, fused: bool = True) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters of `method`, with learning rates by part.

    A group holds the parameters with one rate, inside or outside the encoders. Besides the rate it keeps its `factor`,
    and the `positions` of its parameters among all of the optimiser's, those inside the encoders first, so that its
    state can be restored into other groups.

    `fused` must be off if gradients are both scaled (fp16) and clipped: the fused kernels unscale them as they step.
    """
    groups = parameter_groups(
        method,
        lr=options.lr,
        weight_decay=options.weight_decay,
        rates=options.rates,
        layer_decay=options.layer_decay,
        decay_vectors=options.decay_vectors,
    )
    # One fused pass over all parameters: on CPUs a plain loop over tensors takes as long as the backward pass.
    decay = options.weight_decay
    if options.name == "sgd":
        return torch.optim.SGD(
            groups, momentum=options.momentum, nesterov=options.nesterov, weight_decay=decay, fused=fused
        )
    kind = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=decay, fused=fused)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimiser's state as tensors named POSITION/NAME, and its groups as plain values."""
    state = optimiser.state_dict()
    positions = _positions(state["param_groups"])
    tensors = {
        f"{positions[index]}/{name}": torch.as_tensor(value)
        for index, row in state["state"].items()
        for name, value in row.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    """Restore what `optimiser_tensors` returned; the groups stay those of this optimiser.

    Raises:
        CrossreidError, ValueError, TypeError, KeyError: it is not a state of this optimiser.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    index_of = {position: index for index, position in enumerate(_positions(optimiser.state_dict()["param_groups"]))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition("/")
        if int(number) not in index_of:
            raise ValueError(f"{key}: there are {len(parameters)} parameters")
        index = index_of[int(number)]
        expected = parameters[index]
        if name != "step" and (tensor.shape, tensor.dtype) != (expected.shape, expected.dtype):
            raise ValueError(
                f"{key}: expected {expected.dtype} {tuple(expected.shape)}, found {tensor.dtype} {tuple(tensor.shape)}"
            )
        # The fused kernels assume that a parameter's tensors have its memory layout, for example channels last.
        laid = tensor if name == "step" else torch.empty_like(expected).copy_(tensor)
        state.setdefault(index, {})[name] = laid
    for stored, own in zip(groups, settings_of(optimiser), strict=True):
        for name, value in own.items():
            if isinstance(value, float) and not isinstance(stored.get(name, value), int | float):
                raise TypeError(f"{name}: expected a number, found {stored[name]!r}")
    own_groups = optimiser.state_dict()["param_groups"]
    kept = ("factor", "positions", *COMPUTING)
    groups = [
        {**stored, "params": own["params"], **{key: own[key] for key in kept if key in own}}
        for stored, own in zip(groups, own_groups, strict=True)
    ]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _positions(groups: list[dict[str, Any]]) -> list[int]:
    """The positions of an optimiser's parameters in the order of its groups, as in `make_optimiser`."""
    return [position for group in groups for position in group.get("positions", group["params"])]


def settings_of(optimiser: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The settings an optimiser was made with, per group, without its parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]


def with_settings(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups to restore, with the settings of a new optimiser that differ from the stored one's."""
    return [own | {"initial_lr": own["lr"]} for own in settings]


def rate_factor(
    options: ScheduleOptions, step: int, *, steps_per_epoch: int, epochs: int, steps_done: int | None = None
) -> float:
    """The factor of the learning rate at optimiser step `step`, 0-based.

    Args:
        steps_done: if epochs differ in length, the steps before this one, used for settings given in steps; `step`
            and `steps_per_epoch` are then as if every epoch were as long as the current one.
    """
    done = step if steps_done is None else steps_done
    ahead = 0
    if options.advance == "epoch":
        ahead, inside = steps_per_epoch, step % steps_per_epoch
        step, done = step - inside, done - inside
    warmup, warmed = options.warmup_epochs * steps_per_epoch, step
    if options.warmup_steps:
        warmup, warmed = options.warmup_steps, done
    if warmed + ahead < warmup:
        return options.warmup_start + (1 - options.warmup_start) * (warmed + ahead) / warmup
    if options.kind == "constant":
        return 1.0
    if options.kind == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in options.milestones)
        return options.factor ** (passed + sum(done >= milestone for milestone in options.milestone_steps))
    total = max(epochs * steps_per_epoch - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(warmed - warmup, 0) / total)))


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its initial one times `factor`, if that changes it."""
    for group in optimiser.param_groups:
        rate = group.setdefault("initial_lr", group["lr"]) * factor
        if group["lr"] != rate:
            group["lr"] = rate


def full_rate(optimiser: torch.optim.Optimizer) -> float:
    """The current rate of parts without their own factor."""
    group = optimiser.param_groups[0]
    rate: float = group["lr"] / group.get("factor", 1.0)
    return rate
