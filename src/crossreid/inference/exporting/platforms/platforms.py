"""`crossreid export --for`: the files that DeepStream, Triton and TensorRT need, in folders beside an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.exported import Exported, ExportPrecision, Target
from crossreid.inference.open_model import open_model
from crossreid.runs.named_network import PretrainedNetwork

Platform = Literal["deepstream", "triton", "tensorrt"]
BATCH = 32  # the default for the largest batch stated to a platform

_TARGETS: dict[Platform, tuple[Target, ...]] = {
    "deepstream": ("onnx",),
    "triton": ("onnx", "openvino"),
    "tensorrt": ("onnx",),
}
_PRECISIONS: dict[Platform, tuple[ExportPrecision, ...]] = {
    "deepstream": ("float32", "fp16"),
    "triton": ("float32", "fp16", "int8"),
    "tensorrt": ("float32", "fp16"),
}


@dataclass(frozen=True, slots=True)
class PlatformFiles:
    """A folder that was written; `difference` is that from torch, if a network was made for the platform."""

    platform: Platform
    folder: Path
    difference: float | None = None


def platforms_named(
    names: Sequence[str], target: str, precision: str = "float32", modality: str | None = None, batch: int | None = None
) -> tuple[Platform, ...]:
    """Return the platforms of `--for`, without duplicates, in order; names may be joined by commas.

    Raises:
        CrossreidError: an unknown platform, one that takes no file of that target or precision, or an option that none
            of them has.
    """
    found: list[Platform] = []
    for name in (part.strip() for text in names for part in text.split(",")):
        platform = _known(name)
        if target not in _TARGETS[platform]:
            raise CrossreidError(f"--for {name} takes --to {' or '.join(_TARGETS[platform])}; found --to {target}.")
        if precision not in _PRECISIONS[platform]:
            raise CrossreidError(
                f"--for {name} takes --precision {' or '.join(_PRECISIONS[platform])}; found {precision}. "
                "TensorRT makes int8 of its own."
            )
        if platform not in found:
            found.append(platform)
    if modality is not None:
        if "deepstream" not in found:
            raise CrossreidError(
                f"--modality {modality} is for --for deepstream, which is not given; other files take both."
            )
        modality_named(modality)
    if batch is not None and not found:
        raise CrossreidError(f"--max-batch {batch} is for --for, which is not given.")
    if batch is not None and batch < 1:
        raise CrossreidError(f"--max-batch {batch}: expected 1 or more.")
    return tuple(found)


def _known(name: str) -> Platform:
    for platform in get_args(Platform):
        if name == platform:
            return platform  # type: ignore[no-any-return]
    near = get_close_matches(name, get_args(Platform), n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise CrossreidError(f"--for {name!r}: expected {', '.join(get_args(Platform))}.{guess}")


def modality_named(text: str) -> Modality:
    """Return the modality named `visible` or `infrared`. Raises `CrossreidError` for anything else."""
    for modality in Modality:
        if text == modality.name.lower():
            return modality
    raise CrossreidError(f"--modality {text!r}: expected visible or infrared.")


def refuse_without_modality(
    source: Path | PretrainedNetwork, platforms: Sequence[Platform], modality: str | None, checkpoint: str = "best"
) -> None:
    """Raise `CrossreidError`, before any work, if a platform passes only images but the network depends on modality."""
    if "deepstream" in platforms and modality is None:
        model = open_model(source, checkpoint=checkpoint, device="cpu", fuse=False)
        if isinstance(model, TorchModel):  # `export` itself refuses an exported file
            _refuse_without_modality(model)


def _refuse_without_modality(model: TorchModel) -> None:
    from crossreid.inference.exporting.platforms.pixel_network import depends_on_modality

    if depends_on_modality(model):
        raise CrossreidError(
            f"{model.source}: DeepStream feeds only images, but this network depends on their modality. State the modality it is "
            "made for: --modality visible or --modality infrared."
        )


def write_platforms(
    exported: Exported,
    source: Path | PretrainedNetwork,
    platforms: Sequence[Platform],
    *,
    modality: str | None = None,
    batch: int | None = None,
    checkpoint: str = "best",
) -> list[PlatformFiles]:
    """Write FILE.PLATFORM beside an exported file, for each platform.

    Args:
        source: the run, or the named network's path, that the file was exported from.
        modality: for DeepStream, whose inference passes a single tensor; required if the network depends on modality.
        batch: the largest batch stated to platforms; 32 by default.
        checkpoint: the exported one.

    Raises:
        CrossreidError: a network that depends on modality without one given, or one that a platform cannot take.
    """
    from crossreid.inference.exporting.platforms.deepstream import write_deepstream
    from crossreid.inference.exporting.platforms.tensorrt import write_tensorrt
    from crossreid.inference.exporting.platforms.triton import write_triton

    size = batch or BATCH
    written: list[PlatformFiles] = []
    if not platforms:
        return written
    model = open_model(source, checkpoint=checkpoint, device="cpu", fuse=False)
    assert isinstance(model, TorchModel)
    for platform in platforms:
        folder = exported.path.with_name(f"{exported.path.name}.{platform}")
        if platform == "deepstream":
            if modality is None:
                _refuse_without_modality(model)
            seen_as = modality_named(modality or "visible")
            written.append(PlatformFiles(platform, *write_deepstream(model, exported, folder, seen_as, size)))
        elif platform == "triton":
            written.append(PlatformFiles(platform, write_triton(model, exported, folder, size)))
        else:
            written.append(PlatformFiles(platform, write_tensorrt(exported, folder, size)))
    return written
