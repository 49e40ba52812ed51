"""From a run to a file for another engine: open, write, compare with torch, lower the precision if requested, move."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from crossreid.errors import CrossreidError
from crossreid.files import remove_leftovers, replacing
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.agreement import images_to_compare, largest_difference
from crossreid.inference.exporting.card import card_files, write_card
from crossreid.inference.exporting.exported import Exported, ExportPrecision, Target
from crossreid.inference.exporting.exported_file import SUFFIXES, facts_of, is_exported
from crossreid.inference.exporting.exporter_output import kept_in_log
from crossreid.inference.exporting.precision.lowering import Advancing, Lowering, data_at_hand, lower
from crossreid.inference.exporting.targets import Format, format_of, refuse_name
from crossreid.inference.fusing import fused
from crossreid.inference.open_model import open_exported, open_model
from crossreid.models.lora import merged
from crossreid.runs.named_network import PretrainedNetwork, pretrained_at

TOLERANCE = 1e-4


def export(
    run: Path | str | PretrainedNetwork,
    target: Target = "onnx",
    out: Path | str | None = None,
    *,
    precision: ExportPrecision = "float32",
    batch: int | None = None,
    checkpoint: str = "best",
    tolerance: float = TOLERANCE,
    lowering: Lowering | None = None,
    say: Callable[[str], object] = lambda text: None,
    advancing: Advancing | None = None,
) -> Exported:
    """Export the network of a run as a file of `target` to `out`, by default RUN/model.onnx (.xml, .pt2).

    A network that was not trained here goes to NAME.onnx by default. A precision below float32 is part of the default
    name, RUN/model.int8.onnx. Inputs are `images (B, 3, H, W)` float32, prepared as the file states, and `modalities
    (B,)` int64; outputs are `embeddings (B, D)`, L2-normalised, including the mirror image's if the recipe's evaluation
    does, and `features (B, D)`, to be averaged over a tracklet. The file's metadata are those of `exported_file`.

    Args:
        batch: the fixed B of the file; by default any.
        checkpoint: for a run, best or last.
        tolerance: the largest accepted difference from torch, in float32.
        lowering: for fp16 and int8, the data on which ranges and costs are measured.
        say: called with single-line messages about decisions.
        advancing: makes the `advance(images, total)` of a step of fp16 or int8 from a short description.

    Raises:
        CrossreidError: the target has no operator for a layer (the exporter's output is then in `out`.log), an output
            differs from torch's by more than `tolerance` (no file is written), `out` does not have the target's suffix
            or is a folder, or packages needed by the target are not installed.
    """
    form = format_of(target)
    if precision not in get_args(ExportPrecision):
        raise CrossreidError(f"--precision {precision!r}: expected {', '.join(get_args(ExportPrecision))}.")
    if batch is not None and batch < 1:
        raise CrossreidError(f"--batch {batch}: expected dynamic, or at least 1 image.")
    named = run if isinstance(run, PretrainedNetwork) else pretrained_at(Path(run))
    ending = SUFFIXES[target] if precision == "float32" else f".{precision}{SUFFIXES[target]}"
    if named is not None:
        run, out = named.path, Path(out or f"{named.name.rpartition('/')[2]}{ending}")
    run = Path(run)  # type: ignore[arg-type]
    if is_exported(run):
        raise CrossreidError(f"{run} already is an exported file. Expected the folder of a run.")
    if out is not None:
        refuse_name(Path(out), target)
    # Not fused: the comparison is with the network as trained.
    model = open_model(run, checkpoint=checkpoint, device="cpu", fuse=False)
    assert isinstance(model, TorchModel)
    out = Path(out) if out is not None else model.source / f"model{ending}"
    refuse_name(out, target)
    how = lowering or Lowering()
    found = None if precision == "float32" else data_at_hand(model, target, precision, how)
    remove_leftovers(out)
    with tempfile.TemporaryDirectory(prefix="crossreid-export-") as workplace:
        file = Path(workplace) / f"model{SUFFIXES[target]}"
        written = _written(model, target, form, file, batch, out)
        written = _compared(model, file, replace(written, path=out), tolerance, run)
        if found is not None:
            file, written = lower(model, file, written, precision, how, found, say=say, advancing=advancing)
        cards = _card(model, file, written, Path(workplace) / "card", checkpoint)
        _put(file, form, out)
        for card in cards:
            with replacing(out.parent / card.name) as temporary:
                shutil.copyfile(card, temporary)
    return replace(written, card=out.parent / cards[0].name if cards else None)


def export_onnx(
    run: Path | PretrainedNetwork, out: Path | None = None, *, checkpoint: str = "best", tolerance: float = TOLERANCE
) -> Exported:
    """`export` to ONNX, in float32, for batches of any size."""
    return export(run, "onnx", out, checkpoint=checkpoint, tolerance=tolerance)


def _written(model: TorchModel, target: Target, form: Format, file: Path, batch: int | None, out: Path) -> Exported:
    """Write the network in float32 as `file`, with its facts."""
    given = _fused(model) if form.fused else model
    try:
        with kept_in_log(out.with_name(f"{out.name}.log")) as kept:
            form.write(given, file, batch)
    except OSError:  # not the network's fault: a full disk, for example
        raise
    except Exception as error:  # exporters raise errors of many types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CrossreidError(
            f"{model.source}: the network of {model.method} cannot be written as {form.title} ({type(error).__name__}: "
            f"{reason[:300]}). Serve the run itself, or train one without that layer. The exporter's output: "
            f"{out.with_name(f'{out.name}.log')}"
        ) from error
    form.state_facts(file, facts_of(model, target, batch=batch))
    return Exported(
        file, model.dimension, float("inf"), 0, model.trained, target=target, log=kept.log, batch=batch
    )  # fmt: skip


def _fused(model: TorchModel) -> TorchModel:
    seen = model.preprocessing
    network = fused(merged(model.network), seen.height, seen.width)
    return TorchModel(model.source, network, model.method, seen, model.fingerprint, model.flip, model.device)


def _compared(model: TorchModel, file: Path, written: Exported, tolerance: float, run: Path) -> Exported:
    """Return `written` with its difference from torch. Raises `CrossreidError` if that exceeds `tolerance`."""
    images, modalities, which = images_to_compare(model)
    difference = largest_difference(model, open_exported(file, torch.device("cpu")), images, modalities)
    if not difference <= tolerance:
        raise CrossreidError(
            f"{run}: the exported network differs from torch's by {difference:.2e}, more than {tolerance:.0e}. "
            "Nothing was written. A layer computes something different there; find it by exporting a smaller network."
        )
    return replace(written, difference=difference, images=len(images), compared_on=which)


def _card(model: TorchModel, file: Path, written: Exported, folder: Path, checkpoint: str) -> tuple[Path, ...]:
    """Write the model cards into `folder`, to be moved beside the exported file; return them, that for programs first.

    `file` is where the exported file is now, `written.path` where it will be.
    """
    write_card(model, written, folder, checkpoint=checkpoint, content=file)
    return card_files(folder / written.path.name)


def _put(file: Path, form: Format, out: Path) -> None:
    """Move the file to its path atomically, after its companions, so that it exists only when they do."""
    with ExitStack() as stack:
        pairs = [(file, out), *((file.with_suffix(each), out.with_suffix(each)) for each in form.companions)]
        for source, place in pairs:  # the last one entered is renamed first
            shutil.copyfile(source, stack.enter_context(replacing(place, durable=True)))
