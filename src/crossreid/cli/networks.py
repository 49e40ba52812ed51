"""`--backbone` and what goes with it: a network that was not trained here instead of a command's RUN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.errors import CrossreidError

if TYPE_CHECKING:
    from crossreid.runs.named_network import PretrainedNetwork

BackboneName = Annotated[
    str | None,
    typer.Option("--backbone", help="Instead of RUN: a network not trained here, see docs/networks.md."),
]
Weights = Annotated[str | None, typer.Option(help="With --backbone: imagenet (the default, from timm), or a file.")]
Size = Annotated[str | None, typer.Option(metavar="HxW", help="With --backbone: input size, 256x128 by default.")]
Flip = Annotated[bool, typer.Option("--flip", help="With --backbone: also embed the mirrored image.")]


def named_network(
    backbone: str | None,
    weights: str | None,
    size: str | None,
    flip: bool = False,
    *,
    weights_option: str = "--weights",
) -> PretrainedNetwork | None:
    """Return the network that the options name; None without --backbone. `weights_option` is the command's name of `weights`.

    Raises:
        CrossreidError: a network option without --backbone, or one that no network can have.
    """
    if backbone is None:
        given = {weights_option: weights is not None, "--size": size is not None, "--flip": flip}
        if alone := [name for name, is_given in given.items() if is_given]:
            raise CrossreidError(f"{', '.join(alone)}: needs --backbone NAME, which is not given; a run has its own.")
        return None
    from crossreid.runs.named_network import HEIGHT, WIDTH, PretrainedNetwork, size_of

    height, width = (HEIGHT, WIDTH) if size is None else size_of(size)
    return PretrainedNetwork(backbone, weights or "imagenet", height, width, flip)


def run_and_rest(
    network: PretrainedNetwork | None, first: Path | None, second: str | None, command: str
) -> tuple[Path, str | None]:
    """Return what embeds, and the next argument: RUN and the second one, or the named network's path and the first one.

    Raises:
        CrossreidError: neither a run nor a network, or one argument too many.
    """
    if network is None:
        if first is None:
            raise CrossreidError(f"expected a RUN, or --backbone NAME. See `crossreid {command} --help`.")
        return first, second
    if second is not None:
        raise CrossreidError(f"{first} and --backbone {network.name}: expected either a RUN or --backbone.")
    return network.path, None if first is None else str(first)
