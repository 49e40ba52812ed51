"""The `data` section of a recipe: which data set, how its images are read, augmented and put together into batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from crossreid.data.channels import ChannelOptions
from crossreid.data.distortions import DistortionOptions
from crossreid.data.erasing import RectangleOptions
from crossreid.data.levels import Levels
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.pixel_cache import CacheChoice, Look, user_folder
from crossreid.data.sampling import SamplerOptions
from crossreid.data.sources import NormaliseOptions, SourceOptions, with_names
from crossreid.data.tracklets import SetOptions
from crossreid.data.transforms import Interpolation
from crossreid.errors import CrossreidError
from crossreid.options import Options

PIXELS = ("height", "width", "interpolation", "normalise", "levels")  # the keys that say what pixels a network takes in


class AugmentOptions(Options):
    flip: float = Field(0.5, ge=0, le=1, description="Probability of a horizontal flip.")
    pad: int = Field(10, ge=0, description="Pixels of padding before a random crop; 0 for none.")
    pad_value: int = Field(0, ge=0, le=255, description="Grey level of that padding: 0 is black.")
    erasing: float = Field(0.0, ge=0, le=1, description="Probability of erasing a random rectangle.")
    rectangle: RectangleOptions = Field(RectangleOptions(), description="What erasing cuts out, and fills it with.")
    grey: float = Field(0.0, ge=0, le=1, description="Probability of turning a visible image grey.")
    jitter: float = Field(0.0, ge=0, le=1, description="Strength of brightness, contrast and saturation jitter.")
    pseudo_infrared: float = Field(
        0.0, ge=0, le=1, description="Probability of turning a visible image into pseudo-infrared."
    )
    distortions: DistortionOptions = Field(
        DistortionOptions(), description="What is done to place and light of whole batches, before their channels."
    )
    channels: ChannelOptions = Field(ChannelOptions(), description="What is done to the channels of whole batches.")


class DataOptions(Options):
    name: str = Field(
        description="Data set: sysu-mm01, regdb, llcm, market-1501, msmt17, mars, duke-video, veri-776, atrw, manifest, or one of "
        "a plugin."
    )
    root: Path = Field(description="Folder of the data set, relative to where the command runs.")
    options: dict[str, Any] = Field({}, description="Options of that data set's reader (docs/datasets.md).")
    height: int = Field(256, ge=16, le=2048, description="Height of the network's input, in pixels.")
    width: int = Field(128, ge=16, le=2048, description="Width of the network's input, in pixels.")
    interpolation: Interpolation | None = Field(
        None,
        description="How images are resized, always with antialiasing; null for what the backbone's weights expect.",
    )
    normalise: NormaliseOptions = Field(
        NormaliseOptions(), description="Mean and deviation of the pixels that the network takes in."
    )
    levels: Levels = Field(
        "full",
        description="How 16-bit grey images become 8-bit: by their upper bits (`full`), each by its own range "
        "(`picture`), by a range [LOW, HIGH], or by a range per camera, {1: [7300, 8199]}. Thermal "
        "cameras need a range.",
    )
    workers: int = Field(4, ge=0, le=256, description="Loader processes; 0 loads in the training process.")
    cache: Literal["none", "memory", "disk"] = Field(
        "none",
        description="Where decoded and resized images are kept: on `disk` for all runs, or in `memory` for this run.",
    )
    cache_folder: Path | None = Field(
        None,
        description="Folder of the cache on disk, which runs may share; null for crossreid/images in the user's cache "
        "folder.",
    )
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop",
        description="`stop` ends the run at an unreadable image. `skip` replaces it by another of its tracklet or "
        "identity, leaves an unreadable frame out of a test tracklet, and counts both.",
    )
    augment: AugmentOptions = Field(AugmentOptions(), description="What is done to training images.")
    sampler: SamplerOptions = Field(SamplerOptions(), description="How batches are composed.")
    sets: SetOptions = Field(SetOptions(), description="Sets of images as training samples.")

    sources: tuple[SourceOptions, ...] = Field(
        (),
        description="Several data sets at once, in place of name, root and options; `data` may also be a list of sections.",
    )
    mixing: Literal["within", "alternate"] = Field(
        "within",
        description="With several sources: each batch has identities of all of them, by weight (`within`), or of one "
        "source (`alternate`).",
    )

    @model_validator(mode="before")
    @classmethod
    def _names_of_sources(cls, given: Any) -> Any:
        return with_names(given)

    @model_validator(mode="after")
    def _sources_fit(self) -> Self:
        if not self.sources:
            return self
        if self.sampler.epoch == "pairs":
            raise CrossreidError(
                "sampler.epoch is pairs, which is of one data set; of several expected images, identities or a number"
            )
        channels, distorted = self.augment.channels, self.augment.distortions
        of_batches = {
            "augment.channels": channels.exchange or channels.grey or channels.erasing or channels.joint,
            "augment.distortions": distorted.affine or distorted.light,
        }
        if any(source.normalise for source in self.sources) and any(of_batches.values()):
            raise CrossreidError(
                f"a source has a `normalise` of its own, but {next(key for key in of_batches if of_batches[key])} works on whole "
                "batches that are normalised alike; set one of them back"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_kept(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """One data set is kept as ever; of several, what stands for the one is left out."""
        kept: dict[str, Any] = written(self)
        for key in ("name", "root", "options") if self.sources else ("sources", "mixing"):
            kept.pop(key, None)
        return kept

    def of_source(self, name: str) -> DataOptions:
        """The section of the source called `name` alone, with what is common to all.

        Raises:
            CrossreidError: there is none of that name; those that there are are named.
        """
        source = next((source for source in self.sources if source.called == name), None)
        if source is None:
            known = ", ".join(source.called for source in self.sources) or "none, it is of one data set"
            raise CrossreidError(f"source {name!r} is unknown. Sources: {known}.")
        sampler = (
            self.sampler if source.balance is None else self.sampler.model_copy(update={"balance": source.balance})
        )
        return self.model_copy(
            update={
                "name": source.name,
                "root": source.root,
                "options": source.options,
                "levels": self.levels if source.levels is None else source.levels,
                "normalise": source.normalise or self.normalise,
                "sampler": sampler,
                "sources": (),
            }
        )

    @property
    def cached(self) -> CacheChoice | None:
        """Where images are kept; None where they are not."""
        if self.cache == "none":
            return None
        return CacheChoice(self.cache, self.cache_folder or user_folder(), self.workers)

    @property
    def cached_for_testing(self) -> CacheChoice | None:
        """Likewise, of images that are tested on: in memory those that training keeps there alone, as others are read once."""
        return None if self.cached is None else replace(self.cached, complete=self.cache == "disk")

    @property
    def look(self) -> Look:
        """What images are brought to before anything is drawn for them."""
        return Look(self.height, self.width, self.resizing)

    @property
    def resizing(self) -> Interpolation:
        """`interpolation`; bilinear where nothing says otherwise."""
        return self.interpolation or "bilinear"

    @property
    def normalisation(self) -> Normalisation:
        """`normalise`; ImageNet's where nothing says otherwise."""
        mean, std = self.normalise.mean, self.normalise.std
        return IMAGENET if mean is None or std is None else Normalisation(mean, std)
