"""`--backbone` and what goes with it: a network that was not trained here, in the place of a command's RUN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.errors import CrossreidError

if TYPE_CHECKING:
    from crossreid.runs.named_network import PretrainedNetwork

BackboneName = Annotated[
    str | None,
    typer.Option("--backbone", help="In place of RUN: a network that was not trained here, docs/networks.md."),
]
Weights = Annotated[str | None, typer.Option(help="Of --backbone: imagenet (the default, by timm), or a file.")]
Size = Annotated[str | None, typer.Option(metavar="HxW", help="Of --backbone: of its input, 256x128 by default.")]
Flip = Annotated[bool, typer.Option("--flip", help="Of --backbone: embed an image's mirror image with it.")]


def named_network(
    backbone: str | None,
    weights: str | None,
    size: str | None,
    flip: bool = False,
    *,
    weights_option: str = "--weights",
) -> PretrainedNetwork | None:
    """The network that the options name; None without --backbone. `weights_option` is what the command calls `weights`.

    Raises:
        CrossreidError: an option of a network without its name, or one that no network can have.
    """
    if backbone is None:
        given = {weights_option: weights is not None, "--size": size is not None, "--flip": flip}
        if alone := [name for name, is_given in given.items() if is_given]:
            raise CrossreidError(f"{', '.join(alone)}: of --backbone NAME, which is not given; a run has its own.")
        return None
    from crossreid.runs.named_network import HEIGHT, WIDTH, PretrainedNetwork, size_of

    height, width = (HEIGHT, WIDTH) if size is None else size_of(size)
    return PretrainedNetwork(backbone, weights or "imagenet", height, width, flip)


def run_and_rest(
    network: PretrainedNetwork | None, first: Path | None, second: str | None, command: str
) -> tuple[Path, str | None]:
    """What embeds, and the next argument: RUN and the second one, or a named network's path and the first one.

    Raises:
        CrossreidError: neither a run nor a network, or an argument more than there is room for.
    """
    if network is None:
        if first is None:
            raise CrossreidError(f"expected a RUN, or --backbone NAME. See `crossreid {command} --help`.")
        return first, second
    if second is not None:
        raise CrossreidError(f"{first} and --backbone {network.name}: expected either a RUN or --backbone.")
    return network.path, None if first is None else str(first)
