"""What this project computes where the release of views knowledge distillation left its numbers, `vkd/*.safetensors`.

`vkd/NAME.json` says what each tensor is. `ours(NAME)` gives the same outputs by name, made in float32 by the setting
`official`; `rows()` compares them for a table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from parity_numbers import TOLERANCE, Deviation, Row, about, compared, fill, made, numbers, printed, unfilled
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.data.tracklets import first_of_each_chunk
from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.ranking import rank_embeddings
from crossreid.methods.method import Method
from crossreid.methods.view_distillation import ViewDistillation, ViewDistillationOptions, over_sets, start_from
from crossreid.models.alterations import take_last_activation
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import create_network
from crossreid.models.product_attention import ProductAttention

SETTING = "view_distillation, official"
# The release's names of architectures, and what is given of a backbone beside the setting.
BACKBONES = {
    "resnet18": {"name": "resnet18"},
    "resnet50": {"name": "resnet50"},
    "densenet121": {"name": "densenet121", "last_stride_one": False},
    "mobilenet": {"name": "mobilenetv2_100"},
}


# What float32 keeps of networks whose batch norms see a few places only: the release's own numbers against float64, as a share
# of the largest entry. Both sides have it.
NOISE = {
    "resnet50_features": 2.5e-5,
    "resnet50_logits": 5.7e-5,
    "densenet121_features": 1.3e-5,
    "mobilenet_features": 1.4e-5,
    "mobilenet_logits": 2.0e-5,
}


def tolerance(output: str) -> float:
    """Of the largest entry: 1e-5, or of a network with batch statistics twice the noise of its numbers."""
    architecture, mode, what = output.split("_")
    return TOLERANCE if mode == "eval" else max(TOLERANCE, 2 * NOISE.get(f"{architecture}_{what}", 0))


def official(
    architecture: str = "resnet18", classes: int = 10, backbone_options: dict | None = None, **given
) -> ViewDistillation:
    backbone = {"weights": "none", **BACKBONES[architecture], **(backbone_options or {})}
    return ViewDistillation(ViewDistillationOptions(setting="official", backbone=backbone, **given), classes).eval()


def without_counters(module: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")}


def leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


class Given(Method):
    """A network whose features and logits `(B, N, ...)` are given; its images `(B, N, 1, 1, 1)` are their numbers."""

    def __init__(self, features: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.rows = features.flatten(0, 1), logits.flatten(0, 1)
        self.nothing = nn.Parameter(torch.zeros(1))

    encoders = ()

    def features(self, images, modalities):
        raise NotImplementedError

    def losses(self, batch):
        raise NotImplementedError

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        at = images.flatten().long()
        return self.rows[0][at], self.rows[1][at]


def losses() -> dict[str, Tensor]:
    """The terms from the method itself, which weighs them, of a set's images whose first two are the student's."""
    given = numbers("vkd/losses")
    features, logits = leaf(given["student_features"]), leaf(given["student_logits"])
    sets, size = given["teacher_features"].shape[:2]
    own = about("vkd/losses")["numbers"]["student images"]
    with unfilled():
        student = official(images=own)
    # A set's images are numbered as the teacher's rows are; of the student's rows there are two a set.
    padded = [F.pad(t, (0, 0, 0, size - own)) for t in (features, logits)]
    student.network = Given(*padded)
    student.teach(Given(given["teacher_features"], given["teacher_logits"]))
    images = torch.arange(sets * size).view(sets, size, 1, 1, 1)
    nothing = torch.zeros(sets, size)
    terms = student.losses(Batch(images, given["labels"], nothing, nothing))
    options = student.options
    weights = {"knowledge": options.knowledge_weight, "distance": options.distance_weight}
    found = {name: term / weights.get(name, 1) for name, term in terms.items()}
    found["total"] = torch.stack(list(terms.values())).sum()
    for name, wanted in (
        ("identity", {"logits": logits}),
        ("triplet", {"features": features}),
        ("knowledge", {"logits": logits}),
        ("distance", {"features": features}),
        ("total", {"features": features, "logits": logits}),
    ):
        gradients = torch.autograd.grad(found[name], list(wanted.values()), retain_graph=True)
        found |= {f"{name}_gradient_{kind}": g for kind, g in zip(wanted, gradients, strict=True)}
    images, modalities = images[:, :own], nothing[:, :own]
    pair = over_sets(student.network.predict, images, modalities)
    whole = over_sets(student.teacher.predict, torch.arange(sets * size).view(sets, size, 1, 1, 1), nothing)
    found |= dict(zip(("student_set_features", "student_set_logits"), pair, strict=True))
    found |= dict(zip(("teacher_set_features", "teacher_set_logits"), whole, strict=True))
    return {name: t.detach() for name, t in found.items()}


def bam() -> dict[str, Tensor]:
    given = numbers("vkd/bam")
    module = ProductAttention(64)
    names = [name for name in about("vkd/bam")["tensors"] if "att." in name]
    fill(module, [given[name] for name in names])
    with torch.no_grad():
        found = {"output_eval": module.eval()(given["input"])}
    maps = leaf(given["input"])
    before = {name: t.clone() for name, t in module.state_dict().items()}
    output = module.train()(maps)
    (output * given["coefficients"]).sum().backward()
    module.load_state_dict(before)
    with torch.no_grad():
        channel = module.channel(given["input"].mean(dim=(2, 3)))
        spatial = module.spatial(given["input"])
    gates = {"channel_gate_train": channel, "spatial_gate_train": spatial}
    return found | gates | {"output_train": output.detach(), "gradient_train": maps.grad}


def bare(architecture: str, *, whole_block: bool = True) -> nn.Module:
    """The last block of a network as the setting makes it, or without its last activation alone."""
    network = create_network(BackboneOptions(name=architecture, weights="none"))
    take_last_activation(network, architecture, whole_block=whole_block)
    return network.layer4[-1]


@torch.no_grad()
def last_block(*, whole_block: bool = True) -> dict[str, Tensor]:
    """A bottleneck block of widths that no network has: its layers are put into ResNet-50's last block."""
    given, block = numbers("vkd/last_block"), bare("resnet50", whole_block=whole_block)
    names = [name for name in about("vkd/last_block")["tensors"] if name.startswith("block.")]
    for number, (wide, narrow) in enumerate(((8, 32), (8, 8), (32, 8)), start=1):
        kernel = 3 if number == 2 else 1
        setattr(block, f"conv{number}", nn.Conv2d(narrow, wide, kernel, padding=kernel // 2, bias=False))
        setattr(block, f"bn{number}", nn.BatchNorm2d(wide))
    assert [f"block.{name}" for name in without_counters(block)] == names
    fill(block, [given[name] for name in names])
    return {"output_eval": block.eval()(given["input"]), "output_train": block.train()(given["input"])}


@torch.no_grad()
def last_block_full() -> dict[str, Tensor]:
    given, said = numbers("vkd/last_block_full"), about("vkd/last_block_full")["numbers"]
    found = {}
    for architecture, order in said["order"].items():
        block = bare(architecture)
        state = without_counters(block)
        assert list(state) == order
        fill(block, made(order, [t.shape for t in state.values()], said["seed"]))
        images = given[f"{architecture}_input"]
        found |= {f"{architecture}_output_eval": block.eval()(images)}
        found |= {f"{architecture}_output_train": block.train()(images)}
    return found


@torch.no_grad()
def networks() -> dict[str, Tensor]:
    return {name: t for architecture in BACKBONES for name, t in network(architecture).items()}


@torch.no_grad()
def network(architecture: str) -> dict[str, Tensor]:
    """Set features and logits in the three modes; in that of the teacher the buffers must not change."""
    said = about("vkd/networks")["numbers"]
    order = said["order"][architecture]
    method = official(architecture, said["classes"])
    fill(method, made(order, [t.shape for t in without_counters(method).values()], said["seed"]))
    start = {name: t.clone() for name, t in method.state_dict().items()}
    drawn = np.random.default_rng([said["image_seed"], 5]).standard_normal((3, 2, 3, 96, 48))
    images, nothing = torch.from_numpy(drawn.astype(np.float32)), torch.zeros(3, 2)
    student = official(classes=2)
    found = {}
    for mode in ("eval", "train", "teacher"):
        method.load_state_dict(start)
        if mode == "teacher":
            student.teach(method)
        else:
            method.train(mode == "train")
        pair = over_sets(method.predict, images, nothing)
        found |= {f"{architecture}_{mode}_{what}": t for what, t in zip(("features", "logits"), pair, strict=True)}
    assert all(torch.equal(t, start[name]) for name, t in method.state_dict().items())
    return found


@torch.no_grad()
def reset_places(architecture: str) -> list[int]:
    """Positions in the release's order of the tensors that a student does not keep of its teacher."""
    teacher, student = official(architecture), official(architecture)
    for method, value in ((teacher, 1.0), (student, 0.0)):
        for tensor in without_counters(method).values():
            tensor.fill_(value)
    start_from(student, teacher, reset_last_stage=True, extent=student.options.reset_extent)
    return [place for place, t in enumerate(without_counters(student).values()) if not t.any()]


def frames() -> dict[str, Tensor]:
    count = about("vkd/frames")["numbers"]["frames"]
    rows = [first_of_each_chunk(length, count) for length in range(1, 41)]
    return {"places": torch.from_numpy(np.stack(rows))}


def metric(name: str) -> dict[str, Tensor]:
    given = numbers(f"vkd/metric_{name}")
    sides = [given[f"{side}_{what}"] for what in ("features", "ids", "cameras") for side in ("query", "gallery")]
    sides[4:] = [cameras + 1 for cameras in sides[4:]]  # theirs count from 0, which here is a camera that is not known
    protocol = PROTOCOLS[{"mars": "mars", "duke": "duke-video", "veri": "veri-776"}[name]]
    assert protocol.exclusion == SAME_IDENTITY_AND_CAMERA
    ranking = rank_embeddings(
        *(side.numpy() for side in sides),
        metric="cosine",
        exclusion=protocol.exclusion,
        counting=protocol.counting,
        trapezoid=protocol.trapezoid,
    )
    kept = torch.from_numpy(ranking.valid)
    precision = torch.full((len(kept),), torch.nan, dtype=torch.float64)
    precision[kept] = torch.from_numpy(np.asarray(ranking.average_precision)[ranking.valid])
    curve = torch.from_numpy(np.pad(ranking.cmc, (0, 70 - len(ranking.cmc)), mode="edge"))
    return {"average_precision": precision, "cmc": curve, "mAP": torch.tensor(ranking.mAP)}


CASES = {f.__name__: f for f in (losses, bam, last_block, last_block_full, networks, frames)}
CASES |= {f"metric_{name}": (lambda name=name: metric(name)) for name in ("mars", "duke", "veri")}


def ours(case: str) -> dict[str, Tensor]:
    """The outputs of a case by name, as this project computes them."""
    return CASES[case]()


def rows() -> Iterator[Row]:
    for case in CASES:
        given = numbers(f"vkd/{case}")
        for name, found in ours(case).items():
            kept = ~given[name].isnan()
            bound = tolerance(name) if case == "networks" else TOLERANCE
            yield compared(f"vkd {case}: {name}", found[kept], given[name][kept], SETTING, bound)


DEVIATIONS = (
    Deviation(
        "random numbers of loading",
        "the draws repeat every epoch (NumPy is seeded again whenever the loader's processes start)",
        "drawn from seed, epoch and position",
        "the release did not intend it, and the draws depend on its number of processes",
        SETTING,
    ),
    Deviation(
        "ImageNet weights of MobileNet-V2",
        "torchvision's first version",
        "timm's `mobilenetv2_100.ra_in1k`, or a local file",
        "backbones come from timm, which has no others; for ResNets and DenseNet-121 it has torchvision's (`tv_in1k`)",
        SETTING,
    ),
    Deviation(
        "items of an identity in a batch",
        "K tracklets without replacement within a batch",
        "without replacement within an epoch, as far as the tracklets last",
        "the same if each identity occurs once per epoch, as it does in the release",
        SETTING,
    ),
)


if __name__ == "__main__":
    printed(rows())
