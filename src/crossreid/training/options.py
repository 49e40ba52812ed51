"""The `training` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossreid.options import Options
from crossreid.training.optimisation import OptimiserOptions, ScheduleOptions


class TrainingOptions(Options):
    seed: int = Field(0, ge=0, description="The seed that all randomness of the run is derived from.")
    epochs: int = Field(120, ge=1, description="Epochs; what one pass is, data.sampler.epoch says.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="Arithmetic of the network.")
    accumulate: int = Field(1, ge=1, description="Batches an optimiser step.")
    clip: float | None = Field(None, gt=0, description="Clip the gradient's norm to this; null for not at all.")
    ema: float | None = Field(None, gt=0, lt=1, description="Decay of averaged weights; null for none.")
    compile: bool = Field(False, description="Compile the encoders with torch.compile.")
    checkpoint_activations: bool = Field(
        False,
        description="Compute activations of the encoders' blocks again in the backward pass, rather than keep them.",
    )
    freeze_batch_statistics: bool = Field(False, description="Keep batch norm's running statistics as they are.")
    frozen_stages: int = Field(
        0,
        ge=0,
        description="First stages of the encoders, stem first, that keep their weights and statistics; a ResNet has 5.",
    )
    frozen_epochs: int = Field(
        0,
        ge=0,
        description="Epochs at the start in which whole encoders keep them, and what follows them learns alone.",
    )
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    monitor: str = Field("rank-1", description="Validation number whose highest value makes the best checkpoint.")
    checkpoint_steps: int | None = Field(
        None, ge=1, description="Steps between checkpoints within an epoch; null for at each epoch's end only."
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    devices: int = Field(1, ge=1, description="Processes on this machine.")
    nodes: int = Field(1, ge=1, description="Machines.")
    optimiser: OptimiserOptions = Field(OptimiserOptions(), description="The optimiser.")
    schedule: ScheduleOptions = Field(ScheduleOptions(), description="Course of the learning rate.")
