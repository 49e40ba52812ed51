"""The `data` section of a recipe: which data set, and how its images are read, augmented and batched."""

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
from crossreid.processors import processors

PIXELS = ("height", "width", "interpolation", "normalise", "levels")  # the keys that define a network's input pixels


class AugmentOptions(Options):
    flip: float = Field(0.5, ge=0, le=1, description="Probability of a horizontal flip.")
    pad: int = Field(10, ge=0, description="Pixels of padding before a random crop; 0 for none.")
    pad_value: int = Field(0, ge=0, le=255, description="Grey level of that padding: 0 is black.")
    erasing: float = Field(0.0, ge=0, le=1, description="Probability of erasing a random rectangle.")
    rectangle: RectangleOptions = Field(RectangleOptions(), description="The rectangle to erase, and its fill.")
    grey: float = Field(0.0, ge=0, le=1, description="Probability of turning a visible image grey.")
    jitter: float = Field(0.0, ge=0, le=1, description="Strength of brightness, contrast and saturation jitter.")
    pseudo_infrared: float = Field(
        0.0, ge=0, le=1, description="Probability of turning a visible image into pseudo-infrared."
    )
    distortions: DistortionOptions = Field(
        DistortionOptions(),
        description="Distortions of position and light of whole batches, applied before those of channels.",
    )
    channels: ChannelOptions = Field(ChannelOptions(), description="Augmentation of the channels of whole batches.")


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
        NormaliseOptions(), description="Mean and deviation for normalising the network's input pixels."
    )
    levels: Levels = Field(
        "full",
        description="How 16-bit grey images become 8-bit: by their upper bits (`full`), each by its own range "
        "(`picture`), by a range [LOW, HIGH], or by a range per camera, {1: [7300, 8199]}. Thermal "
        "cameras need a range.",
    )
    workers: int = Field(
        4, ge=0, le=256, description="Loader processes, at most one per processor; 0 loads in the training process."
    )
    cache: Literal["none", "memory", "disk"] = Field(
        "none",
        description="Cache of decoded and resized images: on `disk` for all runs, or in `memory` for this run.",
    )
    cache_folder: Path | None = Field(
        None,
        description="Folder of the disk cache, which runs may share; null for crossreid/images in the user's cache "
        "folder.",
    )
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop",
        description="`stop` ends the run at an unreadable image. `skip` replaces it with another of its tracklet or "
        "identity, leaves an unreadable frame out of a test tracklet, and counts both.",
    )
    augment: AugmentOptions = Field(AugmentOptions(), description="Augmentation of training images.")
    sampler: SamplerOptions = Field(SamplerOptions(), description="How batches are composed.")
    sets: SetOptions = Field(SetOptions(), description="Sets of images as training samples.")

    sources: tuple[SourceOptions, ...] = Field(
        (),
        description="Several data sets at once, instead of name, root and options; `data` may also be a list of sections.",
    )
    mixing: Literal["within", "alternate"] = Field(
        "within",
        description="With several sources: each batch has identities from all of them, by weight (`within`), or from one "
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
                "sampler.epoch is pairs, which works with one data set only; with several, expected images, identities or a number"
            )
        channels, distorted = self.augment.channels, self.augment.distortions
        of_batches = {
            "augment.channels": channels.exchange or channels.grey or channels.erasing or channels.joint,
            "augment.distortions": distorted.affine or distorted.light,
        }
        if any(source.normalise for source in self.sources) and any(of_batches.values()):
            raise CrossreidError(
                f"a source has its own `normalise`, but {next(key for key in of_batches if of_batches[key])} works on whole "
                "batches with one normalisation; reset one of them"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_kept(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Store one data set as before; with several, leave out the keys for a single one."""
        kept: dict[str, Any] = written(self)
        for key in ("name", "root", "options") if self.sources else ("sources", "mixing"):
            kept.pop(key, None)
        return kept

    def of_source(self, name: str) -> DataOptions:
        """Return the section of only the source called `name`, with the keys common to all.

        Raises:
            CrossreidError: there is no source of that name; the existing ones are named.
        """
        source = next((source for source in self.sources if source.called == name), None)
        if source is None:
            known = ", ".join(source.called for source in self.sources) or "none, there is only one data set"
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
        """Return where images are cached; None if they are not."""
        if self.cache == "none":
            return None
        return CacheChoice(self.cache, self.cache_folder or user_folder(), self.loaders)

    @property
    def loaders(self) -> int:
        """Return the number of loader processes on this machine."""
        return min(self.workers, processors())

    @property
    def cached_for_testing(self) -> CacheChoice | None:
        """The same for test images: in memory only those that training keeps there, because others are read once."""
        return None if self.cached is None else replace(self.cached, complete=self.cache == "disk")

    @property
    def look(self) -> Look:
        """Return the size and resizing of images before augmentation."""
        return Look(self.height, self.width, self.resizing)

    @property
    def resizing(self) -> Interpolation:
        """Return `interpolation`; bilinear by default."""
        return self.interpolation or "bilinear"

    @property
    def normalisation(self) -> Normalisation:
        """Return `normalise`; ImageNet's by default."""
        mean, std = self.normalise.mean, self.normalise.std
        return IMAGENET if mean is None or std is None else Normalisation(mean, std)
