"""Optimisers, what they keep in a checkpoint, and learning-rate schedules."""

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
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay (in Adam: L2, as the recipes published it).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    nesterov: bool = Field(False, description="Nesterov's form of SGD's momentum.")
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Learning rate of a layer of the encoders, as a multiple of that of the next layer; null for one "
        "rate.",
    )
    decay_vectors: bool = Field(
        True,
        description="Apply weight decay to biases, scales of norms, positions and class tokens too; transformers are "
        "mostly trained with false.",
    )
    rates: dict[str, float] = Field(
        {},
        description="Factors of lr by part: `stem`, `stage1`, `stage2` ... or `backbone` for the encoders, `heads` "
        "for all else; 1 for parts that are not named.",
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
    kind: Literal["step", "cosine", "constant"] = Field(
        "step", description="Course of the learning rate after warm-up."
    )
    warmup_epochs: float = Field(0, ge=0, description="Epochs of linear warm-up.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up, in place of warmup_epochs.")
    warmup_start: float = Field(
        0.01, ge=0, le=1, description="Learning rate at the start of warm-up, as a multiple of lr."
    )
    advance: Literal["step", "epoch"] = Field(
        "step",
        description="`step`: the rate follows each step; `epoch`: it is constant within an epoch, in warm-up that of "
        "the epoch's end.",
    )
    milestones: tuple[int, ...] = Field(
        (), description="For `step`: epochs after which the rate is multiplied by factor."
    )
    milestone_steps: tuple[int, ...] = Field((), description="For `step`: the same in steps, in place of milestones.")
    factor: float = Field(0.1, gt=0, le=1, description="For `step`: what the rate is multiplied by.")

    @model_validator(mode="after")
    def _one_unit_each(self) -> ScheduleOptions:
        for epochs, steps in (("warmup_epochs", "warmup_steps"), ("milestones", "milestone_steps")):
            if getattr(self, epochs) and getattr(self, steps):
                raise CrossreidError(f"{epochs} and {steps}: expected one of them")
        return self


# Settings of an optimiser's group that say how it computes, not what.
COMPUTING = ("fused", "foreach", "capturable")


def make_optimiser(method: nn.Module, options: OptimiserOptions, *, fused: bool = True) -> torch.optim.Optimizer:
    """The optimiser over the parameters of `method` that learn, its parts at rates of their own.

    A group holds what learns at one rate, inside the encoders or outside them. Beside the rate it keeps its `factor`, and the
    `positions` of its parameters among all of the optimiser's, those inside the encoders first: so its state is found again in
    other groups.

    `fused` must be off where gradients are both scaled (fp16) and clipped: the fused kernels unscale them as they step.
    """
    groups = parameter_groups(
        method,
        lr=options.lr,
        weight_decay=options.weight_decay,
        rates=options.rates,
        layer_decay=options.layer_decay,
        decay_vectors=options.decay_vectors,
    )
    # One fused pass over all parameters: on CPUs the plain loop over tensors takes as long as the backward pass.
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
    """Put back what `optimiser_tensors` returned; the groups are those of this optimiser.

    Raises:
        CrossreidError, ValueError, TypeError, KeyError: it is no state of this optimiser.
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
        # The fused kernels take all tensors of a parameter to lie in memory as it does, as with channels last.
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
    """The positions of an optimiser's parameters in the order of its groups, as `make_optimiser` has them."""
    return [position for group in groups for position in group.get("positions", group["params"])]


def settings_of(optimiser: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What an optimiser was made with, group by group, without its parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]


def with_settings(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups to restore with the settings of an optimiser that was made otherwise than the stored one, and has not moved yet."""
    return [own | {"initial_lr": own["lr"]} for own in settings]


def rate_factor(
    options: ScheduleOptions, step: int, *, steps_per_epoch: int, epochs: int, steps_done: int | None = None
) -> float:
    """What the learning rate is multiplied by at optimiser step `step`, 0-based.

    Args:
        steps_done: where epochs differ in length, the steps before this one, which what is given in steps goes by; `step`
            and `steps_per_epoch` are then as if every epoch were as long as the present one.
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
    """Set every group's learning rate to its first one times `factor`, where it is another than before."""
    for group in optimiser.param_groups:
        rate = group.setdefault("initial_lr", group["lr"]) * factor
        if group["lr"] != rate:
            group["lr"] = rate


def full_rate(optimiser: torch.optim.Optimizer) -> float:
    """The present rate of parts that have no factor of their own."""
    group = optimiser.param_groups[0]
    rate: float = group["lr"] / group.get("factor", 1.0)
    return rate
