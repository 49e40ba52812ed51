"""Weight files of any origin, as tensors by dotted path; nothing in a file is ever executed.

A .safetensors file contains only tensors. A .pth, .pt or .tar file is a pickle, read by torch's own restricted
reader (`weights_only`), which creates tensors and plain values. Anything unknown to it, such as command-line arguments
or NumPy scalars, is replaced by an inert stand-in that accepts what it is given and does nothing; so is every module of
a network that was pickled whole, or written as TorchScript, whose tensors are then found by their names.
Modules that access the system are refused outright.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open
from torch import Tensor

from crossreid.errors import CrossreidError

OWN_FORMAT = re.compile(r"crossreid-checkpoint-\d+")
DEPTH = 12  # of nested mappings; modules pickled whole are the deepest
MODULE_PARTS = ("_parameters", "_buffers", "_modules")
PICKLES = 5  # consecutive ones in a file of torch before 1.6
LARGEST_INDEX = 1 << 30
REFUSED = re.compile(r"WeightsUnpickler error:\s*(\S.*)")  # the reason that torch's reader gives after its advice
WRITTEN_BY_TORCH = (b"P", b"\x80")  # the first byte of an archive and of a pickle
BLOCKED = re.compile(r"GLOBAL (\S+) whose module \S+ is blocked")


class WeightsError(CrossreidError):
    """Weights that cannot be read or do not fit the network they were meant for."""


class StandIn:
    """Replaces an object of an unknown class: accepts any arguments, keeps a state, and does nothing."""

    state: Any = None

    def __new__(cls, *_args: Any, **_named: Any) -> StandIn:
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        """Accept any arguments."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Mapping:
    """A stand-in for a class of mappings that keeps their items."""

    def __new__(cls, *_args: Any, **_named: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def read_state(path: Path, *, mapped: bool = False) -> dict[str, Tensor]:
    """All tensors of a file by their dotted path, including wrappers such as `state_dict`.

    For a checkpoint of this program only the weights: `model.NAME`, and `ema.NAME` if there are averaged ones.

    Args:
        mapped: whether a pickle's tensors stay on disk until they are used.

    Raises:
        WeightsError: the file is missing, cannot be read, or contains no named tensors.
    """
    if path.is_dir():
        raise WeightsError(
            f"weights file {path} is a folder. Expected a file, {path / 'last.safetensors'} for example."
        )
    if not path.is_file():
        raise WeightsError(f"weights file {path} not found. Expected `imagenet`, `none`, or an existing file.")
    try:
        held = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path, mapped)
    except Exception as error:  # safetensors' and torch's readers raise any exception
        raise WeightsError(
            f"weights file {path} cannot be read as tensors ({_reason(path, error)}). "
            "Expected .safetensors, or a .pth that holds tensors only."
        ) from error
    tensors = dict(_named_tensors(held, "", DEPTH))
    if not tensors or not isinstance(held, Mapping | StandIn):
        raise WeightsError(f"weights file {path} holds no plain state dict. Expected names mapped to tensors.")
    return tensors


def stored_facts(path: Path) -> dict[str, Any]:
    """What a crossreid checkpoint says about its run, including the recipe; empty for other or damaged files."""
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
        facts = json.loads(metadata.get("facts", "{}")) if OWN_FORMAT.fullmatch(metadata.get("format", "")) else {}
    except Exception:  # damage is reported when the tensors are read
        return {}
    return facts if isinstance(facts, dict) else {}


def _reason(path: Path, error: Exception) -> str:
    """Why a reader refused a file, in one line, without torch's advice to trust the file and read it unrestricted."""
    said = str(error)
    if blocked := BLOCKED.search(said):
        return f"it names {blocked[1]}, which no file of weights may call"
    if path.suffix != ".safetensors":
        with path.open("rb") as stream:
            beginning = stream.read(1)
        if not beginning:
            return "it is empty"
        if beginning not in WRITTEN_BY_TORCH:
            return "it is no file that torch has written"
        if refused := REFUSED.search(said):
            return refused[1]
    return (said.strip().splitlines() or [type(error).__name__])[0]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as stored:
        own = OWN_FORMAT.fullmatch((stored.metadata() or {}).get("format", "")) is not None
        keys = [key for key in stored.keys() if not own or key.startswith(("model/", "ema/"))]  # noqa: SIM118
        return {key.replace("/", ".", 1) if own else key: stored.get_tensor(key) for key in keys}


def _read_pickle(path: Path, mapped: bool) -> Any:
    """Read a file by torch's restricted reader, with stand-ins for what it does not know."""
    source: Any = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            index = next((name for name in names if name.endswith("/data.pkl")), None)
            if index is None:
                raise WeightsError("an archive without data.pkl")
            if any(name.endswith("/constants.pkl") for name in names):
                if mapped:
                    raise WeightsError("TorchScript, which cannot be left on the disk")
                source = _as_checkpoint(archive, index.removesuffix("data.pkl"))
            with archive.open(index) as pickled:
                unknown = _names_in(io.BytesIO(pickled.read(LARGEST_INDEX)), 1)
    else:
        with path.open("rb") as pickled:
            unknown = _names_in(pickled, PICKLES)
    # Types are distinguished by identity, so each name needs a separate class.
    plain = [(type("StandIn", (StandIn,), {}), name) for name in unknown]
    try:
        return _loaded(source, plain, mapped)
    except Exception as error:
        if "SETITEM" not in str(error):
            raise
    numbers = [pair for pair in plain if pair[1].startswith("numpy.")]
    mappings = [(type("Items", (_Mapping,), {}), name) for name in unknown if not name.startswith("numpy.")]
    return _loaded(source, numbers + mappings, mapped)


def _loaded(source: Any, stand_ins: list[Any], mapped: bool) -> Any:
    if not isinstance(source, Path):
        source.seek(0)
        mapped = False
    with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles not written by torch, which are refused or read anyway
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)


def _names_in(pickled: IO[bytes], count: int) -> list[str]:
    """Names of classes and functions in `count` successive pickles, as the reader looks them up; none is imported."""
    names: set[str] = set()
    for _ in range(count):
        try:
            for operation, argument, _ in pickletools.genops(pickled):
                if operation.name == "GLOBAL" and isinstance(argument, str):
                    module, _, name = argument.partition(" ")
                    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
                    names |= {argument.replace(" ", "."), f"{module}.{name}"}
        except ValueError:  # the end of the pickle; the reader refuses anything else
            break
    return sorted(names)


def _as_checkpoint(archive: zipfile.ZipFile, root: str) -> io.BytesIO:
    """The tensors of a TorchScript file and their index as a checkpoint file, without its code."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as out:
        for name in archive.namelist():
            inner = name.removeprefix(root)
            if inner in ("data.pkl", "version", "byteorder") or inner.startswith("data/"):
                out.writestr(f"archive/{inner}", archive.read(name))
    return kept


def _named_tensors(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor below `value` that has a name, with its dotted path."""
    if isinstance(value, StandIn):
        state = value.state if isinstance(value.state, Mapping) else {}
        parts = [state[part] for part in MODULE_PARTS if isinstance(state.get(part), Mapping)]
        for part in parts or [state]:
            yield from _named_tensors(part, prefix, depth)
        return
    if not isinstance(value, Mapping) or depth == 0:
        return
    for key, inner in value.items():
        if not isinstance(key, str):
            continue
        if isinstance(inner, Tensor):
            yield prefix + key, inner
        else:
            yield from _named_tensors(inner, f"{prefix}{key}.", depth - 1)
