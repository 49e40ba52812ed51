"""Parts of the encoders by name, as in `freeze` and `rates`: `stem`, `stage1`, `stage2` ..., or `backbone` for all.

A stage is what the encoder's `leading_stages(count)` adds to the previous one, the stem being the first: a ResNet has
a stem and stages 1 to 4. Whatever follows the last stage belongs to it; if a network is cut into streams, a stage is
all its copies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from torch import nn

from crossreid.errors import CrossreidError

STEM, BACKBONE, HEADS = "stem", "backbone", "heads"
_STAGE = re.compile(r"stage([1-9]\d{0,3})")


def stage_names(count: int) -> list[str]:
    """The names of the first `count` stages, stem first."""
    return [STEM, *(f"stage{number}" for number in range(1, count))][:count]


def refuse_unknown(names: Iterable[str], key: str, *, known: Sequence[str] = ()) -> None:
    """Raise `CrossreidError` if one of `names`, given under `key`, is neither a part nor `known`."""
    for name in names:
        if name not in (STEM, BACKBONE, *known) and _STAGE.fullmatch(name) is None:
            expected = ", ".join((STEM, "stage1, stage2 ...", BACKBONE, *known))
            raise CrossreidError(f"{key}: {name!r} is not a part of a network; expected {expected}")


def modules_of(encoder: nn.Module, name: str, key: str) -> list[nn.Module]:
    """The modules of a part, without their submodules.

    Raises:
        CrossreidError: the encoder has no such stage, or cannot tell its stages apart; the message names `key`.
    """
    if name == BACKBONE:
        return list(encoder.modules())
    if not hasattr(encoder, "leading_stages"):
        raise CrossreidError(
            f"{key}: {name}, but {type(encoder).__name__} has no leading_stages(count). Give it one that returns modules, or name "
            f"{BACKBONE}, for whole encoders."
        )
    found = _STAGE.fullmatch(name)
    before = int(found[1]) if found else 0
    try:
        whole = encoder.leading_stages(before + 1)  # type: ignore[operator]
    except CrossreidError as error:
        raise CrossreidError(f"{key}: {name}: {error}") from error
    earlier = {id(module) for module in encoder.leading_stages(before)} if before else set()  # type: ignore[operator]
    return [module for module in whole if id(module) not in earlier]
