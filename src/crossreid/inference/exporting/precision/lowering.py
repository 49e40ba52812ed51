"""From a file in float32 to one of lower precision beside it, which states the cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossreid.data.data_options import PIXELS
from crossreid.data.records import Split
from crossreid.errors import CrossreidError
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exporting.agreement import images_to_compare
from crossreid.inference.exporting.exported import Exported, ExportPrecision, Fidelity, Target
from crossreid.inference.exporting.exported_file import facts_of
from crossreid.inference.exporting.onnx_file import graph_digest
from crossreid.inference.exporting.openvino_file import read_said
from crossreid.inference.exporting.precision.fidelity import cosine_of_rows, measure, scored_parts
from crossreid.inference.exporting.precision.fingerprints import fingerprint_in
from crossreid.inference.exporting.precision.onnx_fp16 import onnx_in_fp16
from crossreid.inference.exporting.precision.onnx_int8 import onnx_in_int8
from crossreid.inference.exporting.precision.openvino_precision import openvino_in_fp16, openvino_in_int8
from crossreid.inference.exporting.precision.range_images import IMAGES, RangeImages, chosen, read_range_images
from crossreid.inference.exporting.targets import format_of
from crossreid.inference.open_model import open_exported
from crossreid.runs.named_network import pretrained_at
from crossreid.runs.other_data import OtherData
from crossreid.runs.pretrained import network_recipe
from crossreid.runs.recipe import Recipe, recipe_of_run
from crossreid.runs.run import open_split

ALIKE = 0.999  # least cosine required of fp16, which keeps float32's fingerprint
FP16_IMAGES = 32
Advancing = Callable[[str], Callable[..., object]]


@dataclass(frozen=True, slots=True)
class Lowering:
    """The data for lowering and measuring a file.

    Attributes:
        images: number of training images for int8's ranges.
        overrides: `data.KEY=VALUE` for the current location of the run's data set; for a network that was not trained
            here, also which data set.
        scores: whether to measure mAP and rank-1 as well as cosines.
    """

    images: int = IMAGES
    overrides: Sequence[str] = ()
    scores: bool = True


@dataclass(frozen=True, slots=True)
class AtHand:
    """The data set of a run, as for testing. If unavailable, `missing` says why, and recipe and split are None."""

    recipe: Recipe | None
    split: Split | None
    missing: str = ""


def data_at_hand(model: EmbeddingModel, target: Target, precision: ExportPrecision, how: Lowering) -> AtHand:
    """Return the data for `lower`'s ranges and measurements; call this before writing anything.

    Raises:
        CrossreidError: a target without lower precisions, no training images for int8, or an override that does not
            locate data.
    """
    if target == "torch-export":
        raise CrossreidError(
            f"--precision {precision} is for --to onnx and openvino; a torch.export program is float32."
        )
    try:
        recipe = _recipe(model, how.overrides)
        split = open_split(recipe)
    except (CrossreidError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if how.overrides:
            raise
        if precision != "int8":
            return AtHand(None, None, f"the run's data set is not at hand ({reason}).")
        raise CrossreidError(
            f"int8 takes its ranges from the run's training images, which are not available: {reason} Name their folder: --set "
            "data.root=DIR."
        ) from error
    if precision == "int8":
        chosen(split.train, how.images, recipe.training.seed)  # raises if there are none
    return AtHand(recipe, split)


def lower(
    model: EmbeddingModel,
    file: Path,
    written: Exported,
    precision: ExportPrecision,
    how: Lowering,
    found: AtHand,
    *,
    say: Callable[[str], object] = lambda text: None,
    advancing: Advancing | None = None,
) -> tuple[Path, Exported]:
    """Convert `file`, of `model` in float32, to fp16 or int8; return the new file, and `written` with its `fidelity`.

    Args:
        advancing: makes the `advance(images, total)` of a step from a short description.

    Raises:
        CrossreidError: no test images, an unreadable image, or embeddings in fp16 that differ from float32's.
    """
    form = format_of(written.target)
    bars: Advancing = advancing or (lambda words: lambda *counts: None)
    images = _range_images(model, found, precision, how, bars)
    if written.batch is not None:
        images = replace(images, batch=written.batch, only=True)
    lowered = file.with_name(f"lowered{file.suffix}")
    _write(file, images, precision, lowered, bars(f"{precision}: measuring ranges"))
    facts = facts_of(model, written.target, precision=precision, batch=written.batch)
    form.state_facts(lowered, facts)
    facts["fingerprint"] = fingerprint_in(precision, model.fingerprint, _graph(lowered))
    if precision == "int8":
        facts |= {
            "of": model.fingerprint,
            "ranges": {"images": images.counts, "data": found.recipe.data.name if found.recipe else ""},
        }
        if facts.pop("calibration", None) is not None:
            say("the run's calibration is for float32 scores, so it is not in the int8 file.")
    form.state_facts(lowered, facts)
    fidelity = _fidelity(model, lowered, found, images, precision, how, bars)
    if found.missing:
        say(f"{found.missing} What {precision} costs is measured on {written.compared_on} alone.")
    if precision == "fp16" and fidelity.least_cosine < ALIKE:
        raise CrossreidError(
            f"{model.source}: in fp16 the cosine of an image's embedding with float32's is only {fidelity.least_cosine:.4f}, "
            f"less than {ALIKE}. Nothing was written. Use --precision float32, or int8."
        )
    form.state_facts(lowered, facts | {"fidelity": asdict(fidelity)})
    return lowered, replace(written, precision=precision, fidelity=fidelity)


def _recipe(model: EmbeddingModel, overrides: Sequence[str]) -> Recipe:
    for override in overrides:
        section, _, key = override.partition("=")[0].strip().partition(".")
        if section != "data" or key.partition(".")[0] in PIXELS:
            raise CrossreidError(
                f"--set {override!r}: an export accepts only keys that locate its images, for example data.root=DIR; trained "
                "settings stay."
            )
    if (named := pretrained_at(model.source)) is not None:
        if not any(override.partition("=")[0].strip() == "data.root" for override in overrides):
            raise CrossreidError(
                f"{named.name} was not trained here and has no images of its own. Name some: --set data.name=manifest --set "
                "data.root=FILE.csv, or a data set and its folder."
            )
        return network_recipe(named, None, overrides)
    recipe = recipe_of_run(model.source)
    return OtherData(overrides=tuple(overrides)).recipe(recipe) if overrides else recipe


def _range_images(
    model: EmbeddingModel, found: AtHand, precision: ExportPrecision, how: Lowering, bars: Advancing
) -> RangeImages:
    """Return training images; for fp16 a few, or those of `images_to_compare` if there are none."""
    if found.recipe is None or found.split is None or not found.split.train:
        images, modalities, _ = images_to_compare(model)
        return RangeImages(images.numpy(), modalities.numpy().astype(np.int64))
    count = how.images if precision == "int8" else FP16_IMAGES
    advance = bars(f"{precision}: reading training images")
    return read_range_images(found.split.train, model.preprocessing, count, found.recipe.training.seed, advance=advance)


def _write(file: Path, images: RangeImages, precision: ExportPrecision, lowered: Path, advance: Any) -> None:
    def counted(done: int) -> None:
        advance(done, len(images))

    if file.suffix == ".xml":
        if precision == "fp16":
            openvino_in_fp16(file, lowered)
        else:
            openvino_in_int8(file, images, lowered, advance=counted)
        return
    made = onnx_in_fp16(file, images)[0] if precision == "fp16" else onnx_in_int8(file, images, advance=counted)
    lowered.write_bytes(made.SerializeToString(deterministic=True))


def _graph(file: Path) -> str:
    return read_said(file)[1] if file.suffix == ".xml" else graph_digest(file.read_bytes())


def _fidelity(
    model: EmbeddingModel, lowered: Path, found: AtHand, images: RangeImages,
    precision: ExportPrecision, how: Lowering, bars: Advancing,
) -> Fidelity:  # fmt: skip
    """Measure on the data set's test images; for fp16 without them, on `images`."""
    other = open_exported(lowered, torch.device("cpu"))
    calibrated = len(images) if precision == "int8" else 0
    if found.recipe is not None and found.split is not None:
        parts = scored_parts(found.split, found.recipe)
        advance = bars(f"{precision} beside float32")
        return measure(model, other, parts, scores=how.scores, calibrated_on=calibrated, advance=advance)
    given = torch.from_numpy(images.images), torch.from_numpy(images.modalities)
    cosines = cosine_of_rows(model.embed(*given).numpy(), other.embed(*given).numpy())
    return Fidelity(float(cosines.mean()), float(cosines.min()), len(cosines), {}, "", calibrated)
