"""What this project computes where the releases of AGW and CAJ left their numbers, `agw/*.safetensors`.

`agw/NAME.json` says what each tensor is. `ours(NAME)` gives the same outputs by name, made in float32 by the setting
`official`; `rows()` compares them for a table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from parity_numbers import Deviation, Row, about, compared, difference, numbers, printed
from torch import Tensor

from crossreid.data.joint_channels import erased_by_constants, joint_channels, luma_of_normalised
from crossreid.methods.agw import AGW, TRIPLETS, AGWOptions
from crossreid.models.attention import NonLocal

SETTING = "agw, official"


def official(*, classes: int = 5, **given) -> AGW:
    backbone = {"name": "test_resnet", "weights": "none", "non_local": (0, 1, 1, 0), **given.pop("backbone", {})}
    return AGW(AGWOptions(setting="official", backbone=backbone, **given), classes)


def leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def non_local() -> dict[str, Tensor]:
    given = numbers("agw/non_local")
    block = NonLocal(64, width=AGWOptions(setting="official").backbone.non_local_width)
    state = {}
    for key in (key for key in given if "." in key):
        own = key.replace("g.0.", "g.", 1) if key.startswith("g.0.") else key.replace("W.", "out.", 1)
        state[own] = given[key]
    missing = block.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    with torch.no_grad():
        found = {"output_eval": block.eval()(given["input"])}
    maps = leaf(given["input"])
    output = block.train()(maps)
    (output * given["coefficients"]).sum().backward()
    return found | {"output_train": output.detach(), "gradient_train": maps.grad}


def gem() -> dict[str, Tensor]:
    given, maps = numbers("agw/gem"), leaf(numbers("agw/gem")["input"])
    output = official().pooling(maps)
    (output * given["coefficients"]).sum().backward()
    return {"output": output.detach(), "gradient": maps.grad}


def weighted_triplet() -> dict[str, Tensor]:
    given, found = numbers("agw/weighted_triplet"), {}
    loss = TRIPLETS[official().options.triplet]
    for name in about("agw/weighted_triplet")["tensors"]:
        if name.startswith("features_"):
            scale, features = name.removeprefix("features_"), leaf(given[name])
            value = loss(features, given["labels"])
            value.backward()
            found |= {f"loss_{scale}": value.detach(), f"gradient_{scale}": features.grad}
    return found


class Drawn:
    """A generator whose draws are given: of `random`, of `integers` and of `uniform`, in turn."""

    def __init__(self, random: list, integers: list, uniform: list = ()) -> None:
        self.left = {"random": list(random), "integers": list(integers), "uniform": list(uniform)}

    def random(self, size):
        return np.full(size, self.left["random"].pop(0))

    def integers(self, low, high, size=()):
        return np.full(size, self.left["integers"].pop(0))

    def uniform(self, low, high):
        value = self.left["uniform"].pop(0)
        assert low <= value <= high
        return value


def channels() -> dict[str, Tensor]:
    """Draws by `joint_channels` in the order: erased or not; of four and of a half; of three."""
    image = numbers("agw/channels")["image"][None]

    def of(modality: int, copies: int, four: int, half: float, three: int) -> Tensor:
        drawn = Drawn([1.0, half], [four, three])
        return joint_channels(image, torch.tensor([modality]), copies, drawn, erasing=0.5)[0]

    found = {f"exchange_{channel}": of(0, 1, 3, 0.9, channel) for channel in range(3)}
    found |= {f"adap_gray_{channel}": of(1, 0, channel, 0.9, 0) for channel in range(3)}
    found |= {"gray": of(1, 0, 3, 0.2, 0), "gray_left": of(1, 0, 3, 0.9, 0)}
    assert torch.equal(of(0, 0, 0, 0.2, 0), image[0]), "the first version of a visible image stays as it is"
    assert difference(luma_of_normalised(image)[0], found["gray"]) == 0
    for number, box in enumerate(about("agw/channels")["numbers"]["erasing"]):
        drawn = Drawn([0.4], [box["row"], box["column"]], [box["area"], box["aspect"]])
        found[f"erased_{number}"] = erased_by_constants(image, 0.5, drawn)[0]
    return found


CASES = {f.__name__: f for f in (non_local, gem, weighted_triplet, channels)}


def ours(case: str) -> dict[str, Tensor]:
    """The outputs of a case by name, as this project computes them."""
    return CASES[case]()


def rows() -> Iterator[Row]:
    for case in CASES:
        given = numbers(f"agw/{case}")
        for name, found in ours(case).items():
            setting = "data.augment.channels.joint" if case == "channels" else SETTING
            yield compared(f"agw {case}: {name}", found, given[name], setting)


DEVIATIONS = (
    Deviation(
        "the model kept",
        "the best rank-1 on the test set, checked every second epoch",
        "the last",
        "selecting on test images inflates the figure",
        SETTING,
    ),
    Deviation(
        "the order of a batch",
        "the visible half first, identities in the same order in both",
        "an identity's visible and infrared images next to each other",
        "no term and no batch norm depends on the order",
        SETTING,
    ),
)


if __name__ == "__main__":
    printed(rows())
