"""Find the weights of a backbone in other programs' files, and map their names to those of the network.

The backbone is searched for, not looked up: of all prefixes in a file, such as `module.`, `backbone.` or
`teacher.backbone.`, the one followed by most of the network's own names is taken. If names differ, the known ones of
other libraries are tried: timm's conversions of the networks' originals, and the few here.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from crossreid.models.position_tables import TABLES, Grid, resampled
from crossreid.quiet import without_warnings

State = dict[str, Tensor]
# If a file has two backbones, its authors evaluate the averaged one, or the teacher's.
PREFERRED = ("ema", "teacher", "averaged")
STREAMS = re.compile(r"((?:.*\.)?)(visible_stem|infrared_stem|common|streams\.\d+)\.(\d+)\.(.+)")
FIRST_COPIES = ("visible_stem", "common", "streams.0")  # in the order of their stages
CHUNKED = re.compile(r"blocks\.\d+\.(\d+\.)")


@dataclass(frozen=True)
class Found:
    """A backbone in a file.

    Attributes:
        tensors: by the network's names; some of them may be absent from the network.
        prefix: of its names in the file.
        used: the names in the file that it was made from.
        changes: what was resampled or left out of a table, for printing.
    """

    tensors: State
    prefix: str
    used: frozenset[str]
    changes: tuple[str, ...] = ()
    fits: int = field(default=0, compare=False)


def find_backbone(
    given: Mapping[str, Tensor], network: nn.Module, *, own: bool = False, grid: Grid | None = None
) -> Found:
    """The tensors of a file that fit `network` best, under the network's names, with tables resampled to its size.

    Args:
        own: whether the file was written by this program, so that the length of its tables determines their size.
        grid: patches of the images that such a file is for, if it says so.
    """
    expected = network.state_dict()
    prefixes = _prefixes(given, len(expected))
    plain = [_under(given, prefix) for prefix in prefixes]
    tried = [Found(state, prefix, _names(prefix, state)) for prefix, state in zip(prefixes, plain, strict=True)]
    tried += _of_streams(given, expected)
    best = _best(tried, expected)
    if own:
        best = _best([_with_positions(best, network, grid)], expected)
    fits = best.fits >= _needed(expected)
    if fits and not own:  # tables may be as long as the network's but of another grid
        best = _with_positions(best, network, squares_first=True)
    if fits:
        return best
    converted = [
        found
        for prefix, state in zip(prefixes, plain, strict=True)
        if (found := _converted(state, prefix, network)) is not None
    ]
    return _best([best, *converted], expected)


def _with_positions(
    found: Found, network: nn.Module, grid: Grid | None = None, *, squares_first: bool = False
) -> Found:
    """With positions on the network's grid."""
    if "pos_embed" not in found.tensors:
        return found
    table, said = resampled(found.tensors["pos_embed"], network, old=grid, squares_first=squares_first)
    changes = (*found.changes, said) if said else found.changes
    return replace(found, tensors={**found.tensors, "pos_embed": table}, changes=changes)


def _best(tried: list[Found], expected: Mapping[str, Tensor]) -> Found:
    def rank(found: Found) -> tuple[int, bool, int]:
        fits = sum(key in found.tensors and found.tensors[key].shape == value.shape for key, value in expected.items())
        object.__setattr__(found, "fits", fits)
        parts = found.prefix.split(".")
        return fits, any(word in part for word in PREFERRED for part in parts), -len(found.prefix)

    return max(tried, key=rank)


def _needed(expected: Mapping[str, Tensor]) -> int:
    return sum(not key.endswith("num_batches_tracked") for key in expected)


def _prefixes(given: Mapping[str, Tensor], wanted: int) -> list[str]:
    """Prefixes followed by enough tensors to be the network's; the empty one first."""
    counts = Counter(key[: match.end()] for key in given for match in re.finditer(r"\.", key))
    return ["", *sorted((prefix for prefix, count in counts.items() if count >= wanted / 3), key=lambda p: (len(p), p))]


def _under(given: Mapping[str, Tensor], prefix: str) -> State:
    return {key[len(prefix) :]: value for key, value in given.items() if key.startswith(prefix)}


def _names(prefix: str, state: Iterable[str]) -> frozenset[str]:
    return frozenset(prefix + key for key in state)


def _of_streams(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[Found]:
    """The first copy of each stage, for each network in a file that crossreid cut into stems and streams."""
    cut = {key.replace(".", "_", dots): key for key in expected for dots in range(4)}
    states: dict[str, State] = defaultdict(dict)
    names: dict[str, list[str]] = defaultdict(list)
    matches = [(key, match) for key in given if (match := STREAMS.fullmatch(key)) and match[2] in FIRST_COPIES]
    lengths = Counter({(match[1], match[2]): 0 for _, match in matches})
    for _, match in matches:
        lengths[match[1], match[2]] = max(lengths[match[1], match[2]], int(match[3]) + 1)
    for key, match in matches:
        before = FIRST_COPIES[: FIRST_COPIES.index(match[2])]
        stage = int(match[3]) + sum(lengths[match[1], copy] for copy in before)
        names[match[1]].append(key)
        states[match[1]][_of_block(stage, match[4]) or cut.get(match[4], match[4])] = given[key]
    return [Found(state, prefix, frozenset(names[prefix])) for prefix, state in states.items()]


def _of_block(stage: int, name: str) -> str:
    """A transformer's name for a tensor of its stem (stage 0) or a block, otherwise empty (`token_stages`)."""
    part, _, rest = name.partition(".")
    return {"network": rest, "block": f"blocks.{stage - 1}.{rest}", "norm": name}.get(part, "")


def _converted(state: State, prefix: str, network: nn.Module) -> Found | None:
    """timm's conversion of an original network's state; None if there is none, or it does not accept this state."""
    changes: list[str] = []
    original = state
    state = _without_chunks(_as_clip(state))
    state = _without_distillation(state, network, changes)
    for key in TABLES & state.keys():
        state[key], said = resampled(state[key], network, squares_first=True)
        changes += [said] if said else []
    before = {key: value.shape for key, value in state.items()}
    convert = _timm_conversion(network)
    if convert is not None:
        try:
            with _quiet(), _as_it_is_built(network):
                state = dict(convert(dict(state), network))
        except Exception:  # timm's conversions raise any exception for a file of another kind
            return None
    tables = [
        key
        for key, value in state.items()
        if "relative_position" in key and before.get(key, value.shape) != value.shape
    ]
    if tables:
        changes.append(f"{len(tables)} tables of relative positions resampled")
    patches = "patch_embed.proj.weight"
    if patches in state and before.get(patches, state[patches].shape)[2:] != state[patches].shape[2:]:
        changes.append(f"patch embedding resampled to {tuple(state[patches].shape[2:])}")
    return Found(state, prefix, _names(prefix, _taken(original, state, network)), tuple(changes))


def _taken(original: State, converted: State, network: nn.Module) -> Iterable[str]:
    """The names in a file that a conversion used; dropped ones are not in the result and belong to no module."""
    if "visual.class_embedding" in original:
        return [key for key in original if key.startswith("visual.")]
    if "patch_embed.proj.weight" not in original:  # the original names its modules differently
        return original
    kept = {id(value) for value in converted.values()}
    own = {key.partition(".")[0] for key in network.state_dict()}
    return [
        key for key, value in original.items() if key in converted or id(value) in kept or key.partition(".")[0] in own
    ]


def _as_clip(state: State) -> State:
    """A visual tower of CLIP under the prefix that timm expects, whatever its prefix in the file."""
    bare = "class_embedding" in state or "attnpool.positional_embedding" in state
    return {f"visual.{key}": value for key, value in state.items()} if bare else dict(state)


def _without_chunks(state: State) -> State:
    """Blocks numbered as one sequence; DINOv2's and DINOv3's training files number them in chunks."""
    if not any(CHUNKED.match(key) for key in state):
        return state
    return {CHUNKED.sub(r"blocks.\1", key, count=1): value for key, value in state.items()}


def _without_distillation(state: State, network: nn.Module, changes: list[str]) -> State:
    """Without DeiT's distillation token and its position, if the network has none."""
    if "dist_token" not in state or "dist_token" in network.state_dict():
        return state
    kept = {key: value for key, value in state.items() if key != "dist_token" and not key.startswith("head_dist.")}
    table = kept.get("pos_embed")
    if table is not None and table.ndim == 3:
        kept["pos_embed"] = torch.cat([table[:, :1], table[:, 2:]], dim=1)
    changes.append("the token of distillation left out, and its position")
    return kept


def _timm_conversion(network: nn.Module) -> Callable[..., Mapping[str, Tensor]] | None:
    module = sys.modules.get(type(network).__module__)
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None or not str(getattr(module, "__name__", "")).startswith("timm."):
        return None
    asked: Any = {"adapt_layer_scale": True} if "adapt_layer_scale" in inspect.signature(convert).parameters else {}
    return lambda state, model: convert(state, model, **asked)


@contextmanager
def _as_it_is_built(network: nn.Module) -> Iterator[None]:
    """Make timm accept tables of the network's size: they are resampled, though timm's arguments say another size."""
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    before = getattr(network, "pretrained_model_args", None)
    network.pretrained_model_args = {**(before or {}), **({} if size is None else {"img_size": size})}  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del network.pretrained_model_args
        else:
            network.pretrained_model_args = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress timm's logging and printing during a conversion; a note of ours reports it instead."""
    with redirect_stdout(StringIO()), without_warnings():
        yield
