"""Checkpoints: one safetensors file that holds all a run needs to go on, read without running any code in it.

Tensors are the model, its average (EMA), the optimiser's state and the generators' states; everything else is JSON in
the file's metadata. A file is written under a temporary name, synchronised and renamed: it is whole or not there.
"""

from __future__ import annotations

import json
import platform
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.files import replacing

FORMAT = "crossreid-checkpoint-1"


class CheckpointError(CrossreidError):
    """A checkpoint that is missing, damaged, or another run's."""


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors by kind (`model`, `ema`, `optimiser`, `generator`) and what is known of the run at that step."""

    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`, or leave what is there untouched."""
    flat = {
        f"{kind}/{name}": tensor.detach().cpu().contiguous().clone()
        for kind, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    counts = {kind: len(tensors) for kind, tensors in checkpoint.tensors.items() if tensors}
    facts = {**checkpoint.facts, "versions": versions(), "tensors": counts}
    with replacing(path, durable=True) as temporary:
        save_file(flat, temporary, metadata={"format": FORMAT, "facts": json.dumps(facts)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: no such file, one that the system does not give out, no safetensors file, or one that is no checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} not found. Expected a file that `crossreid train` wrote.")
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        path.open("rb").close()  # safe_open says "no such file" of one that may not be read
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            for key in stored.keys():  # noqa: SIM118  (not a dict)
                kind, _, name = key.partition("/")
                tensors.setdefault(kind, {})[name] = stored.get_tensor(key)
    except SafetensorError as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}). Delete it, or restore a copy.") from error
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {error.strerror or error}. It may be whole: look at its permissions and disk."
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of this program: format {metadata.get('format')!r}.")
    try:
        facts = json.loads(metadata.get("facts", ""))
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged (its facts are no JSON: {error}). Delete it, or restore a copy."
        ) from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"checkpoint {path} is damaged (its facts are no object). Delete it, or restore a copy.")
    for kind, count in facts.get("tensors", {}).items():
        if len(tensors.get(kind, ())) != count:
            raise CheckpointError(
                f"checkpoint {path} is damaged ({kind}: expected {count} tensors, found {len(tensors.get(kind, ()))}). "
                "Restore a copy."
            )
    return Checkpoint(tensors, facts)


def require(path: Path, checkpoint: Checkpoint, *, kinds: tuple[str, ...], facts: tuple[str, ...]) -> None:
    """Raise `CheckpointError` naming what a checkpoint lacks of that which a run needs to go on."""
    missing = [f"{kind} tensors" for kind in kinds if kind not in checkpoint.tensors]
    missing += [fact for fact in facts if fact not in checkpoint.facts]
    if missing:
        raise CheckpointError(f"checkpoint {path} is damaged ({', '.join(missing)} missing). Restore a copy.")


def load_weights(method: nn.Module, path: Path) -> Checkpoint:
    """Load a checkpoint's weights, averaged ones where it has them, into `method`.

    Raises:
        CheckpointError: keys or shapes are not those of the method; the first few are named.
    """
    checkpoint = load_checkpoint(path)
    require(path, checkpoint, kinds=("model",), facts=())
    fit_weights(method, checkpoint.tensors.get("ema") or checkpoint.tensors["model"], path)
    return checkpoint


def fit_weights(method: nn.Module, given: dict[str, Tensor], path: Path) -> None:
    expected = method.state_dict()
    wrong = [f"{key} missing" for key in expected.keys() - given.keys()]
    wrong += [f"{key} unknown" for key in given.keys() - expected.keys()]
    wrong += [
        f"{key}: expected {tuple(expected[key].shape)}, found {tuple(given[key].shape)}"
        for key in expected.keys() & given.keys()
        if expected[key].shape != given[key].shape
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise CheckpointError(
            f"checkpoint {path} does not fit the method: {shown}. Use the recipe it was trained with."
        )
    method.load_state_dict(given)


def refuse_another_recipe(path: Path, stored: dict[str, Any], recipe: dict[str, Any]) -> None:
    """Raise `CheckpointError` with the keys that differ, but for the number of epochs and where data is found."""
    free = {"training.epochs", "data.root", "data.workers"}
    before, now = _flat(stored), _flat(recipe)
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k) and k not in free)
    if changed:
        shown = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in changed[:5])
        raise CheckpointError(
            f"{path} belongs to another recipe ({shown}). Choose another --out, or delete that folder."
        )


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimiser's state as named tensors, and its groups as plain values."""
    state = optimiser.state_dict()
    tensors = {
        f"{index}/{name}": torch.as_tensor(value)
        for index, row in state["state"].items()
        for name, value in row.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def generator_states() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of torch's, NumPy's and Python's global generators: tensors, and what JSON holds."""
    tensors = {"torch": torch.get_rng_state()}
    for index in range(torch.cuda.device_count()):
        tensors[f"cuda{index}"] = torch.cuda.get_rng_state(index)
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    tensors["numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    version, internal, gauss = random.getstate()
    tensors["python"] = torch.tensor(internal, dtype=torch.int64)
    return tensors, {"numpy": [str(name), int(position), int(has_gauss), float(cached)], "python": [version, gauss]}


def restore_generators(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{index}"], index)
    name, position, has_gauss, cached = facts["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    random.setstate((facts["python"][0], tuple(tensors["python"].tolist()), facts["python"][1]))


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "unknown"

    packages = ("crossreid", "torch", "timm", "lightning-fabric", "numpy")
    return {"python": platform.python_version(), **{package: of(package) for package in packages}}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
