"""A recipe's options of transformers: drop path, patches, the tokens that represent the image, side information."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossreid.options import Options

SideKind = Literal["none", "camera", "modality", "both"]


class TransformerOptions(Options):
    """Options of a backbone that computes tokens; with the defaults it is as built by timm.

    Drop path and `tokens: gem` apply to any network, the others to those that cut an image into patches.
    """

    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability that the last block is skipped in training; for earlier blocks it is smaller in "
        "proportion.",
    )
    patch_stride: int | None = Field(
        None,
        ge=1,
        description="Pixels from one patch to the next; less than the patch size makes them overlap. null for the size of a "
        "patch.",
    )
    tokens: Literal["mean", "class", "gem"] = Field(
        "mean",
        description="What represents the image: the map of its patches, averaged by the method (`mean`); the class "
        "token (`class`); the generalised mean of the patches (`gem`). The last two are a map of one "
        "position.",
    )
    gem_power: float = Field(3.0, ge=1, description="For `gem`: initial p.")
    learn_gem: bool = Field(True, description="For `gem`: learn p.")
    side_information: SideKind = Field(
        "none", description="Side information that is embedded and added to an image's tokens."
    )
    side_weight: float = Field(3.0, gt=0, description="Weight of the embedded side information; TransReID's lambda.")
    cameras: tuple[int, ...] | None = Field(
        None,
        description="Numbers of the cameras with an embedding; any other uses their mean. null for those of the "
        "training images, which a run records in its recipe.",
    )

    @property
    def embeds_cameras(self) -> bool:
        return self.side_information in ("camera", "both")
