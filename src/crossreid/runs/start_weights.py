"""Which weights a network takes from one that is built differently: its encoders', and others with the same meaning.

Encoders are compared as whole backbones, so that a network of streams and one with a whole encoder have weights in
common. Outside the encoders, a neck goes with the encoder before it; for everything else, names and shapes must agree
and both networks
belong to one family: methods of one class, or of classes derived from one class below `Method`. What depends on the
    identities is taken only on the same data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.methods.method import Method
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.encoder_weights import Origin, as_whole, is_cut, resampled_to, whole_keys
from crossreid.models.heads import Encoder

ORIGINS = ("shared", "visible", "infrared")


@dataclass
class Taken:
    """Tensors by their names in the network that takes them, and facts to report about them.

    `used` are names in the source; `encoder` is the one of its several encoders that every encoder copies.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    resampled: list[str] = field(default_factory=list)
    encoder: str | None = None


def encoders_by_path(method: Method) -> dict[str, nn.Module]:
    """Return the encoders of a method by module path."""
    paths = {id(module): path for path, module in method.named_modules()}
    return {paths[id(encoder)]: encoder for encoder in method.encoders if id(encoder) in paths}


def taken_from(source: Method, method: Method, *, origin: Origin | None, left: Collection[str]) -> Taken:
    """Return what `method` takes from `source`, which may be another method; `left` are tensors that it always keeps.

    Raises:
        CrossreidError: the encoders are of different networks, or `source` has no encoder `origin`.
    """
    theirs, own = encoders_by_path(source), encoders_by_path(method)
    taken = Taken()
    paired = origin is None and theirs.keys() == own.keys() and all(_cut_alike(theirs[path], own[path]) for path in own)
    if not paired:
        chosen, label = _chosen(theirs, origin)
        taken.encoder = label
    for path, encoder in own.items():
        from_path = path if paired else chosen
        _take_encoder(taken, (from_path, theirs[from_path]), (path, encoder), origin or "shared", paired=paired)
        _take_neck(taken, (source, from_path), (method, path))
    given, state = source.state_dict(), method.state_dict()
    if _one_family(source, method):
        inside = tuple(f"{path}." for path in own)
        for name in state.keys() & given.keys():
            if name not in left and not name.startswith(inside) and given[name].shape == state[name].shape:
                taken.weights[name] = given[name]
                taken.used.add(name)
    for name in left:
        taken.weights.pop(name, None)
    return taken


def _chosen(encoders: dict[str, nn.Module], origin: Origin | None) -> tuple[str, str | None]:
    """Return the path of the encoder that all copy, and its name if there are several to choose from."""
    named = {name: path for name in ORIGINS for path in encoders if name in path.split(".")}
    cut = next((encoder for encoder in encoders.values() if is_cut(encoder)), None)
    if len(encoders) == 1:
        several = cut is not None and len(set(whole_keys(cut).values())) < len(whole_keys(cut))
        if origin is not None and not several:
            raise CrossreidError(
                f"start_encoder is {origin}, but the network to start from has one encoder; leave it out."
            )
        return next(iter(encoders)), (origin or "shared") if several else None
    if not encoders or (origin is not None and origin not in named):
        found = ", ".join(named) or "none with these names"
        raise CrossreidError(
            f"start_encoder is {origin or 'shared'}, but the network to start from has encoders: {found}."
        )
    name: str = origin or next(iter(named), "")
    return named.get(name, next(iter(encoders))), name or next(iter(encoders))


def _cut_alike(one: nn.Module, other: nn.Module) -> bool:
    """Return whether both are whole backbones, or have the same tensors in the same stems and streams."""
    if not is_cut(one) and not is_cut(other):
        return True
    return is_cut(one) and is_cut(other) and one.state_dict().keys() == other.state_dict().keys()


def _take_encoder(
    taken: Taken, source: tuple[str, nn.Module], target: tuple[str, nn.Module], origin: Origin, *, paired: bool
) -> None:
    """Add what an encoder takes from another one: everything if they are cut alike, else the weights of one whole backbone."""
    (from_path, theirs), (path, encoder) = source, target
    given, own = theirs.state_dict(), encoder.state_dict()
    if paired and given.keys() == own.keys():
        offered, used = given, {name: name for name in given}
    else:
        whole, keys = as_whole(theirs, origin), whole_keys(encoder)
        offered = {name: whole[key] for name, key in keys.items() if key in whole}
        used = {name: key for name, key in whole_keys(theirs).items() if key in {keys[found] for found in offered}}
    offered, changed = resampled_to(offered, theirs, encoder)
    fitting = {name: tensor for name, tensor in offered.items() if tensor.shape == own[name].shape}
    taken.weights |= {f"{path}.{name}": tensor for name, tensor in fitting.items()}
    taken.used |= {f"{from_path}.{name}" for name in used}
    taken.resampled += [f"{path}.{name}" for name in changed if name in fitting]


def _take_neck(taken: Taken, source: tuple[Method, str], target: tuple[Method, str]) -> None:
    """Add the neck after an encoder if both networks hold encoder and neck in one `Encoder`."""
    parents = [
        (method.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[0]) for method, path in (source, target)
    ]
    (theirs, from_path), (own, path) = parents
    if isinstance(theirs, Encoder) and isinstance(own, Encoder) and theirs.width == own.width:
        state = theirs.neck.state_dict()
        taken.weights |= {f"{path}.neck.{name}": tensor for name, tensor in state.items()}
        taken.used |= {f"{from_path}.neck.{name}" for name in state}


def _one_family(one: Method, other: Method) -> bool:
    """Return whether both are of one class, or of classes derived from one class below `Method`."""
    return bool(set(type(one).__mro__) & set(type(other).__mro__) - set(Method.__mro__))


def refuse_another_backbone(
    taken: Taken, method: Method, own: BackboneOptions, theirs: BackboneOptions, file: Path
) -> None:
    """Raise `CrossreidError` if an encoder lacks a tensor of its bare backbone: the networks differ.

    What options add to a backbone, such as attention, may be re-initialised.
    """
    with torch.random.fork_rng(devices=[]):
        needed = set(Backbone(BackboneOptions(name=own.name, weights="none", last_stride_one=False)).state_dict())
    lacking = [
        f"{path}.{name}"
        for path, encoder in encoders_by_path(method).items()
        for name, key in whole_keys(encoder).items()
        if key in needed and f"{path}.{name}" not in taken.weights
    ]
    if lacking:
        raise CrossreidError(
            f"start_from: {file} has no weights for {in_short(lacking)} of the network to train. Its backbone is "
            f"{theirs.name}, the recipe's {own.name}; expected a run on the same one."
        )


def in_short(names: Iterable[str]) -> str:
    """Return the first three of some names, and how many more there are."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
