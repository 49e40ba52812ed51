"""The file format of checkpoints: one safetensors file, read without running any code in it.

Tensors are named `KIND/NAME`, where a kind is the model, its average (EMA), the optimiser's state or the generators'
states; everything else is JSON in the file's metadata. A file is written under a temporary name, synchronised and
renamed: it is whole or not there.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
        CheckpointError: the file is missing, cannot be read, is damaged, or is no checkpoint.
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
    """Raise `CheckpointError` naming the kinds of tensors and the facts that the checkpoint in `path` lacks."""
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
    """Load the tensors `given`, which come from `path`, into `method`.

    Raises:
        CheckpointError: keys or shapes are not those of the method; the first few are named.
    """
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


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "unknown"

    packages = ("crossreid", "torch", "timm", "lightning-fabric", "numpy")
    return {"python": platform.python_version(), **{package: of(package) for package in packages}}
