"""The file format of checkpoints: one safetensors file, read without executing any code in it.

Tensors are named `KIND/NAME`, where a kind is the model, its average (EMA), the optimiser's state or the generators'
states; everything else is JSON in the file's metadata. A file is written under a temporary name, synchronised and
renamed, so it is either complete or absent.

Each tensor's SHA-256, over its type, shape and bytes, is stored among the facts under `sha256`, and that of the facts
beside them in the metadata as `facts_sha256`. Reading verifies these hashes; files without them, from an earlier state
of 0.1.0, are read as they are.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.files import replacing

FORMAT = "crossreid-checkpoint-1"
WEIGHTS = ("model", "ema")  # the kinds of tensors needed for a trained model
# safetensors' name for a file being written, which a killed process leaves behind.
UNFINISHED = re.compile(r"\.tmp[A-Za-z0-9]{6}")
_Count = Annotated[int, Field(ge=0)]


class CheckpointError(CrossreidError):
    """A checkpoint that is missing, damaged, or of another run."""


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors by kind (`model`, `ema`, `optimiser`, `generator`) and facts about the run at that step."""

    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to use: the averaged ones, if there are any."""
        return self.tensors.get("ema") or self.tensors["model"]


class _Facts(BaseModel):
    """The types of the facts read by this program; there may be others."""

    model_config = ConfigDict(strict=True, extra="allow")

    epoch: _Count = 0
    step_in_epoch: _Count = 0
    step: _Count = 0
    best: float | None = None
    losses: dict[str, float] = {}
    groups: list[dict[str, Any]] = []
    generators: list[dict[str, Any]] = []
    recipe: dict[str, Any] = {}
    changes: list[dict[str, Any]] = []
    scaler: dict[str, Any] | None = None
    averaged: _Count = 0
    versions: dict[str, str] = {}
    tensors: dict[str, int] = {}
    sha256: dict[str, str] = {}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` atomically.

    Raises:
        NoSpace: the disk is full.
        OSError: the file cannot be written for another reason.
    """
    flat = {
        f"{kind}/{name}": tensor.detach().cpu().contiguous().clone()
        for kind, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    counts = {kind: len(tensors) for kind, tensors in checkpoint.tensors.items() if tensors}
    hashes = {name: _sha256(tensor) for name, tensor in flat.items()}
    facts = json.dumps({**checkpoint.facts, "versions": versions(), "tensors": counts, "sha256": hashes})
    metadata = {"format": FORMAT, "facts": facts, "facts_sha256": hashlib.sha256(facts.encode()).hexdigest()}
    with replacing(path, durable=True) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # as for any other file; safetensors makes its own readable by the owner only
        try:
            save_file(flat, temporary, metadata=metadata)
            temporary.chmod(mode)
        except SafetensorError as error:  # its way of reporting system errors
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def load_checkpoint(path: Path, kinds: Collection[str] | None = None) -> Checkpoint:
    """Read a checkpoint onto the CPU, with all its tensors or those of some `kinds`; what is read is verified.

    Raises:
        CheckpointError: the file is missing, unreadable, damaged, or not a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} not found. Expected a file written by `crossreid train`.")
    names: list[str] = []
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        path.open("rb").close()  # safe_open reports "no such file" for one without read permission
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            names += stored.keys()
            for key in names:
                kind, _, name = key.partition("/")
                if kinds is None or kind in kinds:
                    tensors.setdefault(kind, {})[name] = stored.get_tensor(key)
    except SafetensorError as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {error.strerror or error}. It may be intact: check its permissions and the disk."
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this program: format {metadata.get('format')!r}.")
    facts = _read_facts(path, metadata)
    found = Counter(name.partition("/")[0] for name in names)
    for kind, count in facts.get("tensors", {}).items():
        if found[kind] != count:
            raise damaged(path, f"{kind}: expected {count} tensors, found {found[kind]}")
    hashes = facts.pop("sha256", None)
    if hashes is not None:
        _verify(path, names, tensors, hashes)
    return Checkpoint(tensors, facts)


def damaged(path: Path, what: str) -> CheckpointError:
    """The error for a checkpoint that is not as it was written."""
    return CheckpointError(f"checkpoint {path} is damaged ({what}). Delete it, or restore a copy.")


def _read_facts(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get("facts", "")
    expected = metadata.get("facts_sha256")
    if expected is not None and hashlib.sha256(text.encode()).hexdigest() != expected:
        raise damaged(path, "its facts are not those that were written")
    try:
        facts = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise damaged(path, f"its facts are no JSON: {error}") from error
    if not isinstance(facts, dict):
        raise damaged(path, "its facts are no object")
    if "sha256" in facts and expected is None:  # they are written together
        raise damaged(path, "the hash of its facts is missing")
    try:
        _Facts.model_validate(facts)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        raise damaged(path, f"its fact {name!r}: {fault['msg']}, found {_short(fault['input'])}") from error
    return facts


def _verify(
    path: Path, names: list[str], tensors: Mapping[str, Mapping[str, Tensor]], hashes: Mapping[str, str]
) -> None:
    read = {f"{kind}/{name}": tensor for kind, named in tensors.items() for name, tensor in named.items()}
    wrong = sorted(set(names) ^ hashes.keys())
    wrong += [name for name, tensor in read.items() if name in hashes and _sha256(tensor) != hashes[name]]
    if wrong:
        others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise damaged(path, f"tensor {wrong[0]}{others}: not what was written")


def _sha256(tensor: Tensor) -> str:
    of = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
    of.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return of.hexdigest()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def require(path: Path, checkpoint: Checkpoint, *, kinds: tuple[str, ...], facts: tuple[str, ...]) -> None:
    """Raise `CheckpointError` naming the kinds of tensors and the facts missing in the checkpoint at `path`."""
    missing = [f"{kind} tensors" for kind in kinds if kind not in checkpoint.tensors]
    missing += [fact for fact in facts if fact not in checkpoint.facts]
    if missing:
        raise damaged(path, f"{', '.join(missing)} missing")


def read_weights(path: Path) -> Checkpoint:
    """The part of a checkpoint that its network needs: `weights` and facts, nothing of the optimiser.

    Raises:
        CheckpointError: as `load_checkpoint`, or it has no weights.
    """
    checkpoint = load_checkpoint(path, WEIGHTS)
    require(path, checkpoint, kinds=("model",), facts=())
    return checkpoint


def fit_weights(method: nn.Module, given: dict[str, Tensor], path: Path) -> None:
    """Load the tensors `given`, which come from `path`, into `method`.

    Raises:
        CheckpointError: keys, shapes or types differ from the method's; the first few are named.
    """
    expected = method.state_dict()
    wrong = [f"{key} missing" for key in expected.keys() - given.keys()]
    wrong += [f"{key} unknown" for key in given.keys() - expected.keys()]
    wrong += [
        f"{key}: expected {tuple(expected[key].shape)}, found {tuple(given[key].shape)}"
        for key in expected.keys() & given.keys()
        if expected[key].shape != given[key].shape
    ]
    wrong += [
        f"{key}: expected {expected[key].dtype}, found {given[key].dtype}"
        for key in expected.keys() & given.keys()
        if expected[key].dtype != given[key].dtype
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise CheckpointError(
            f"checkpoint {path} does not fit the method: {shown}. Use the recipe it was trained with."
        )
    method.load_state_dict(given)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    packages = ("crossreid", "torch", "timm", "lightning-fabric", "numpy")
    return {"python": platform.python_version(), **{package: _version(package) for package in packages}}


@functools.cache
def _version(package: str) -> str:
    """Read once: looking for it takes longer than writing a small checkpoint."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
