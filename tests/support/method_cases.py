"""Every method in each of its settings, small enough to be stepped or compiled in a test, and batches for them."""

import torch

from crossreid.data.batch import Batch
from crossreid.data.composition import composition_of_sets
from crossreid.methods import METHODS, build_method

CLASSES = 3
SMALL = {"name": "test_resnet", "weights": "none"}
HEADS = {"bottleneck": {"hidden": (16, 12), "width": 8}}
THREE = ("variational_distillation", "information_bottleneck", "variational_information_bottleneck")
ADDED = {
    "centre": 1.0,
    "circle": 1.0,
    "cross_batch_memory": {"size": 32, "start": 0},
    "hetero_centre": 1.0,
    "hetero_centre_triplet": 1.0,
    "modality_aware_ranking": 1.0,
    "weighted_triplet": 1.0,
}
TRANSFORMER = {
    "name": "test_vit",
    "weights": "none",
    "input_size": (32, 32),
    "transformer": {"tokens": "class", "side_information": "both", "cameras": (0, 1, 2)},
}

CASES = {
    "baseline": ("baseline", {}),
    "baseline with losses": ("baseline", {"losses": ADDED}),
    "baseline with sub-centres": ("baseline", {"head": {"name": "subcentre"}}),
    "baseline with styles": ("baseline", {"backbone": {"mixstyle": {"stages": (1,), "across": True}}}),
    "strong baseline": ("strong_baseline", {}),
    "agw": ("agw", {"setting": "crossreid"}),
    "agw paper": ("agw", {"setting": "paper"}),
    "agw official": ("agw", {"setting": "official"}),
    "agw squared differences": ("agw", {"triplet": "squared_difference"}),
    "transreid": ("transreid", {}),
    "vd": ("variational_distillation", {"setting": "crossreid"}),
    "vd paper": ("variational_distillation", {"setting": "paper"}),
    "vd official": ("variational_distillation", {"setting": "official", "branches": "specific"}),
    "vd official, whole image in grey": ("variational_distillation", {"setting": "official", "grey": "image"}),
    "vd two streams": ("variational_distillation", {"stages": {"split": 2, "stems": 1}}),
    "ib jensen-shannon": ("information_bottleneck", {}),
    "ib mine": ("information_bottleneck", {"estimator": "mine", "branches": "specific"}),
    "ib infonce": ("information_bottleneck", {"estimator": "infonce", "branches": "specific"}),
    "ib nwj": ("information_bottleneck", {"estimator": "nwj", "branches": "shared"}),
    "vib": ("variational_information_bottleneck", {}),
    "idkl": ("implicit_knowledge", {"setting": "crossreid"}),
    "idkl paper": ("implicit_knowledge", {"setting": "paper"}),
    "idkl official": ("implicit_knowledge", {"setting": "official"}),
    "vkd teacher": ("view_distillation", {}),
    "vkd student": ("view_distillation", {"images": 2, "taught": True}),
    "vkd paper": ("view_distillation", {"setting": "paper", "images": 2, "taught": True}),
    "vkd official": ("view_distillation", {"setting": "official", "taught": True}),
    "vkd by modality": (
        "view_distillation",
        {"images": 2, "taught": True, "network": {"name": "agw", "backbone": {**SMALL, "non_local": (0, 0, 0, 0)}}},
    ),
}


def method_of(case, *, seed=0, small=SMALL, **changes):
    """The method of a case on a small backbone, in training mode."""
    name, given = CASES[case]
    given = {**given, **changes}
    taught = given.pop("taught", False)
    backbone = TRANSFORMER if name == "transreid" else {**small, **given.pop("backbone", {})}
    if "network" in given:
        given["network"] = {**given["network"], "backbone": {**given["network"]["backbone"], **small}}
    if name == "agw":
        backbone["non_local"] = (0, 0, 0, 0)
    if name in THREE:
        given = HEADS | given
    if name == "variational_distillation" and given.get("setting") == "official":
        given["bottleneck"] = {**HEADS["bottleneck"], "batch_norm": True, "doubled": True}
    options = METHODS[name].options(backbone=backbone, **given)
    torch.manual_seed(seed)
    method = build_method(options, CLASSES)
    if taught:
        method.teach(build_method(options, CLASSES))
    return method.train()


def batch_of(case, *, seed=1, composed=True):
    """P x K images, or sets of them, of modalities in turn."""
    name = CASES[case][0]
    generator = torch.Generator().manual_seed(seed)
    labels, modalities = torch.arange(CLASSES).repeat_interleave(4), torch.arange(4 * CLASSES) % 2
    shape = (len(labels), 3, 32, 32 if name == "transreid" else 16)
    if name == "view_distillation":
        modalities, shape = modalities[:, None].repeat(1, 3), (shape[0], 3, *shape[1:])
    cameras = torch.arange(modalities.numel()).view_as(modalities) % 3
    composition = composition_of_sets(labels, modalities) if composed else None
    images = torch.randn(shape, generator=generator)
    return Batch(images, labels, modalities, cameras, torch.zeros_like(labels), composition)


def total(terms):
    return torch.stack(list(terms.values())).sum()
