"""The `training` section of a recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from crossreid.options import Options
from crossreid.training.freezing import as_parts, check
from crossreid.training.optimisation import OptimiserOptions, ScheduleOptions


class TrainingOptions(Options):
    """The section `training` of a recipe: the loop, its optimiser and its schedule."""

    seed: int = Field(0, ge=0, description="Seed of all randomness in the run.")
    framework: Literal["torch", "mindspore"] = Field(
        "torch", description="Framework to train with: PyTorch or MindSpore."
    )
    epochs: int = Field(120, ge=1, description="Number of epochs, as defined by data.sampler.epoch.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="Arithmetic of the network.")
    matmul_precision: Literal["highest", "high", "medium"] | None = Field(
        None,
        description="Arithmetic of float32 products and convolutions: `highest` is float32, `high` is TF32 and "
        "`medium` is bf16, where the device has them. null for PyTorch's default, which on GPUs is TF32 "
        "in convolutions only.",
    )
    accumulate: int = Field(1, ge=1, description="Batches per optimiser step.")
    clip: float | None = Field(None, gt=0, description="Maximum gradient norm; null for no clipping.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of the moving average of the weights; null for no averaging."
    )
    compile: bool = Field(
        False,
        description="Compile losses and gradient as one graph with torch.compile, or only the encoders if that is "
        "impossible.",
    )
    checkpoint_activations: bool = Field(
        False,
        description="Recompute activations of the encoders' blocks in the backward pass instead of storing them.",
    )
    freeze_batch_statistics: bool = Field(False, description="Do not update batch norm's running statistics.")
    freeze: tuple[str, ...] = Field(
        (),
        description="Parts of the encoders that keep their weights and statistics: `stem`, `stage1`, `stage2` ... (a ResNet has "
        "four), or `backbone` for all of them.",
    )
    unfreeze_after: float | dict[str, float | None] | None = Field(
        None,
        description="Epochs, or a fraction of one, after which frozen parts are trained too; or epochs by part, `{stage4: "
        "2, stage3: 4}`, with other parts kept frozen. null for never.",
    )
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    monitor: str = Field("rank-1", description="Validation number whose highest value selects the best checkpoint.")
    checkpoint_steps: int | None = Field(
        None,
        ge=1,
        description="Steps between checkpoints within an epoch; null for checkpoints only at the end of each epoch.",
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device type to compute on.")
    devices: int = Field(1, ge=1, description="Number of processes on this machine.")
    nodes: int = Field(1, ge=1, description="Number of machines.")
    optimiser: OptimiserOptions = Field(OptimiserOptions(), description="The optimiser.")
    schedule: ScheduleOptions = Field(ScheduleOptions(), description="Learning-rate schedule.")

    @model_validator(mode="before")
    @classmethod
    def _earlier_keys(cls, given: Any) -> Any:
        return as_parts(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _can_be_frozen(self) -> TrainingOptions:
        check(self.freeze, self.unfreeze_after)
        return self
