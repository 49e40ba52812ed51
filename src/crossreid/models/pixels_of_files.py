"""What weight files say about the pixels that they were trained with: mean, deviation, and how images were resized."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from crossreid.data.normalisation import Normalisation
from crossreid.models.weight_files import WeightsError, read_state, stored_facts


class SaidOfPixels(NamedTuple):
    """What a file says; `interpolation` is None if it does not say."""

    normalisation: Normalisation
    interpolation: str | None = None


def said_of_pixels(path: Path) -> SaidOfPixels | None:
    """What the file says; None if it says nothing, or is missing or unreadable, which is reported when it is loaded."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _said(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _said(path: Path, _modified: int, _size: int) -> SaidOfPixels | None:
    return _of_run(path) or _of_config(path.parent / "config.json") or _of_tensors(path)


def _of_run(path: Path) -> SaidOfPixels | None:
    """The pixels in the recipe of a checkpoint of this program."""
    recipe = stored_facts(path).get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("normalise"), dict):
        return None
    return _made(data["normalise"].get("mean"), data["normalise"].get("std"), data.get("interpolation"))


def _of_config(path: Path) -> SaidOfPixels | None:
    """The pixels in the `config.json` that timm stores beside weights on the hub."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    described = config.get("pretrained_cfg", config) if isinstance(config, dict) else None
    if not isinstance(described, dict):
        return None
    return _made(described.get("mean"), described.get("std"), described.get("interpolation"))


def _of_tensors(path: Path) -> SaidOfPixels | None:
    """`pixel_mean` and `pixel_std` of 0 to 255, as fast-reid stores them beside its weights."""
    if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
        return None
    try:
        tensors = read_state(path, mapped=True)
    except WeightsError:
        return None
    held: Mapping[str, Any] = {key.rpartition(".")[2]: value for key, value in tensors.items() if "pixel_" in key}
    if not {"pixel_mean", "pixel_std"} <= held.keys():
        return None
    mean, std = ((held[key].double().flatten() / 255).tolist() for key in ("pixel_mean", "pixel_std"))
    return _made(mean, std, None)


def _made(mean: Any, std: Any, interpolation: Any) -> SaidOfPixels | None:
    try:
        (r, g, b), (r_std, g_std, b_std) = ([float(value) for value in values] for values in (mean, std))
    except (TypeError, ValueError):
        return None
    resized = interpolation if isinstance(interpolation, str) else None
    return (
        SaidOfPixels(Normalisation((r, g, b), (r_std, g_std, b_std)), resized) if min(r_std, g_std, b_std) > 0 else None
    )
