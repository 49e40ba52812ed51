"""What this project computes where the release of IDKL left its numbers, `idkl/*.safetensors`.

`idkl/*.json` say what each tensor is. `ours(file)` gives the same outputs by name, made in float32 from the same inputs by the setting
`official`; `rows()` compares them for a table, and `DEVIATIONS` are the remaining differences from the release.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from parity_numbers import Deviation, Row, printed
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.data.composition import slot_rows
from crossreid.evaluation.reranking import reranked_blocks
from crossreid.evaluation.reranking_options import KReciprocal
from crossreid.losses import released_knowledge as released
from crossreid.losses.alignment import class_alignment, entropies, without_diagonal
from crossreid.losses.metric import euclidean_distances, triplet_loss
from crossreid.methods.implicit_knowledge import ImplicitKnowledge, ImplicitKnowledgeOptions
from crossreid.models.heads import modality_classifier
from crossreid.models.pooling import generalised_mean
from crossreid.models.purifier import Purifier

SETTING = "implicit_knowledge, official"
FOLDER = Path(__file__).parent / "idkl"
SCHEDULE = json.loads((FOLDER / "schedule.json").read_text(encoding="utf-8"))
REGDB = {"relation_weight": 0.0, "discrepancy_graphs": False, "class_weight": 0.3}  # what RegDB's recipe sets
# Parameters of the fixtures as the method names them; `gradient.` before a name is the gradient of it.
NAMES = {
    "instance_norm.scale": "purifier.norm.weight",
    "instance_norm.shift": "purifier.norm.bias",
    "reduce_mask.1": "purifier.reduce.0.weight",
    "reduce_mask.2": "purifier.reduce.2.weight",
    "keep_mask.1": "purifier.keep.0.weight",
    "keep_mask.2": "purifier.keep.2.weight",
    "shared_neck.scale": "shared_neck.weight",
    "purified_neck.scale": "purified_neck.weight",
    "shared_classifier": "shared_classifier.weight",
    "purified_classifier": "purified_classifier.weight",
    "unpurified_classifier": "specific_classifier.weight",
}
LAYERS = {"fc1": 0, "bn1": 1, "fc2": 4, "bn2": 5, "fc3": 8}  # of a modality classifier


@cache
def about(file: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{file}.json").read_text(encoding="utf-8"))


@cache
def tensors_of(file: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{file}.safetensors")


def difference(found: Tensor, expected: Tensor, scale: float | None = None) -> float:
    """The largest difference, as a share of `scale`: the largest entry that is expected, unless it is given."""
    scale = float(expected.double().abs().max()) if scale is None else scale
    return float((found.double() - expected.double()).abs().max()) / max(scale, 1e-30)


def scale_of(file: str, output: str) -> float:
    """The largest entry of what the release gave; of a gradient that is 0 but for rounding, of the same layer's weight.

    A bias in front of a batch norm is taken out by it again.
    """
    if output.startswith("gradient.") and output.endswith(("fc1.bias", "fc2.bias")):
        output = output.replace("bias", "weight")
    return float(tensors_of(file)[output].double().abs().max())


def tolerance(file: str, output: str) -> float:
    """Of that entry: 1e-5, or what the release's encodings in half precision are away from the exact ones."""
    if file == "reranking" and output.startswith("distances_"):
        given = tensors_of(file)
        return difference(given[output], given[output.replace("distances", "exact")]) + 1e-5
    return 1e-5


def official(classes: int = 20, **given: Any) -> ImplicitKnowledge:
    options = {"backbone": {"name": "test_resnet", "weights": "none"}, **given}
    return ImplicitKnowledge(ImplicitKnowledgeOptions(setting="official", **options), classes)


def our_name(name: str) -> str:
    """Of a parameter of the fixtures."""
    if name in NAMES:
        return NAMES[name]
    owner, layer, part = name.split(".")
    return f"{owner}.{LAYERS[layer]}.{part}"


def ours(file: str) -> dict[str, Tensor]:
    return FILES[file](tensors_of(file))


def purifier_of(given: Mapping[str, Tensor]) -> Purifier:
    module = Purifier(len(given["instance_norm.scale"]), running=True)
    names = {our.removeprefix("purifier."): given[name] for name, our in NAMES.items() if our.startswith("purifier.")}
    module.load_state_dict(names, strict=False)
    return module


def purifier(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    maps = given["map"].clone().requires_grad_()
    module = purifier_of(given)
    found = module(maps)
    pooled = generalised_mean(found.purified, 3.0)
    (given["coefficients"] * pooled).sum().backward()
    masks = {"keep_mask": module.keep(maps), "reduce_mask": module.reduce(found.normalised)}
    outputs = {**found._asdict(), **masks, "pooled": pooled, "gradient": maps.grad}
    return {name: t.detach() for name, t in outputs.items()}


def discriminator(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    module = modality_classifier(given["input"].shape[1])
    state = {
        our_name(name).removeprefix("discriminator."): t
        for name, t in given.items()
        if name.startswith("discriminator")
    }
    module.load_state_dict(state, strict=False)
    with torch.no_grad():
        evaluated = module.eval()(given["input"])
        trained = without_dropout(module.train())(given["input"])
    loss = F.cross_entropy(trained, given["labels"])
    return {
        "logits_eval": evaluated,
        "logits_train_without_dropout": trained,
        "loss_train_without_dropout": loss,
    }


def without_dropout(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def terms(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    labels, modalities, margin = given["labels"], given["modalities"], about("terms")["numbers"]["margin"]
    visible, infrared, k = slot_rows(labels, modalities)
    shared = given["shared"]
    distances = euclidean_distances(shared[modalities == 0], shared[modalities == 0], floor=1e-6)
    found = {
        "distances": without_diagonal(distances),
        "log_graph": released.released_graph(shared[modalities == 0]),
        "centre_distances": released.released_centre_distances(shared, labels, modalities),
        "entropies": entropies(given["shared_logits"]),
        "pseudo_modalities": released.released_pseudo_modalities(labels, modalities),
    }
    half = len(visible) // 2
    mixed = torch.cat([visible[:half], infrared[:half]])
    graphs, classes = released.released_graph_alignment, class_alignment
    rows = {"visible": visible, "infrared": infrared}
    losses: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
        **{f"tgsa_{n}": (lambda s, t, r=r: graphs(s[r], t[r]), ("shared", "taught")) for n, r in rows.items()},
        "mdr_own": (lambda s: graphs(s[visible], s[infrared]), ("shared",)),
        "mdr_visible_mixed": (lambda s: graphs(s[visible], s[mixed]), ("shared",)),
        "mdr_mixed_infrared": (lambda s: graphs(s[mixed], s[infrared]), ("shared",)),
        **{
            f"csa_{n}": (lambda s, t, r=r: classes(s[r], t[r], symmetric=True), ("shared_logits", "taught_logits"))
            for n, r in rows.items()
        },
        "mdr_predictions": (lambda s: classes(s[visible], s[infrared], symmetric=True), ("shared_logits",)),
        **{
            f"slots_{n}": (lambda s, t, r=r: released.slot_alignment(s[r], t[r], k), ("shared_logits", "taught_logits"))
            for n, r in rows.items()
        },
        "slots_across": (lambda s: released.slot_alignment(s[visible], s[infrared], k), ("shared_logits",)),
        "triplet": (lambda s: triplet_loss(s, labels, margin=margin, own_positive=True), ("shared",)),
        "entropy": (
            lambda whole, kept: released.released_entropy_reduction(kept, whole),
            ("shared_logits", "taught_logits"),
        ),
        "centres": (
            lambda reduced, normalised: released.released_centre_reduction(reduced, normalised, labels, modalities),
            ("shared", "taught"),
        ),
    }
    for name, (loss, sides) in losses.items():
        leaves = [given[side].clone().requires_grad_() for side in sides]
        value = loss(*leaves)
        gradients = torch.autograd.grad(value, leaves)
        found |= {name: value.detach()}
        found |= {f"{name}_gradient_{side}": gradient for side, gradient in zip(sides, gradients, strict=True)}
    logits = given["modality_logits"].clone().requires_grad_()
    pseudo = F.cross_entropy(logits, found["pseudo_modalities"])
    pseudo.backward()
    return found | {"pseudo_loss": pseudo.detach(), "pseudo_loss_gradient": logits.grad}


class Maps(nn.Module):
    """In place of a two-stream network: the two last maps."""

    width = 64

    def __init__(self, shared: Tensor, specific: Tensor) -> None:
        super().__init__()
        self.shared, self.specific = nn.Parameter(shared), nn.Parameter(specific)

    def forward(self, images: Tensor, modalities: Tensor, streams: int = 2) -> list[Tensor]:
        return [self.shared, self.specific][:streams]


def method_of(given: Mapping[str, Tensor], **options: Any) -> ImplicitKnowledge:
    """The method with the fixture's weights on the fixture's maps, as it trains but for dropout."""
    maps = Maps(given["shared_map"].clone(), given["specific_map"].clone())
    with patch("crossreid.methods.implicit_knowledge.TwoStream", lambda *_: maps):
        method = official(len(given["shared_classifier"]), **options)
    parameters = {name.removeprefix("gradient.") for name in given if name.startswith("gradient.")}
    missing, unexpected = method.load_state_dict({our_name(n): given[n] for n in parameters}, strict=False)
    assert not unexpected
    learned = {name for name, p in method.named_parameters() if p.requires_grad and not name.startswith("network.")}
    assert not learned & set(missing), "the fixture has every weight that learns"
    return without_dropout(method.train())


def total(given: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
    method = method_of(given, **options)
    labels, modalities = given["labels"], given["modalities"]
    batch = Batch(torch.zeros(()), labels, modalities, torch.zeros_like(labels))
    found = method.losses(batch)
    whole = torch.stack(list(found.values())).sum()
    whole.backward()
    with torch.no_grad():
        sides = method._sides(batch.images, modalities)
        outputs = parts_of(method, sides, labels, modalities)
    weight = method.options
    outputs |= {
        "shared_pooled": sides.shared[0],
        "purified_pooled": sides.taught[0],
        "shared_logits": sides.shared[2],
        "purified_logits": sides.taught[2],
        "discrimination": found["discrimination"],
        "pseudo_labels": found["confusion"],
        "weighted_slots": found["slots"],
        "total": whole,
        "gradient_shared_map": method.network.shared.grad,
        "gradient_specific_map": method.network.specific.grad,
    }
    graphs = sum(outputs[n] for n in ("mdr_own", "mdr_visible_mixed", "mdr_mixed_infrared"))
    if weight.relation_weight:
        outputs["weighted_graphs"] = found["relation"] + graphs
        outputs["weighted_class"] = found["class"] + found["discrepancy"] - graphs
    else:
        outputs["weighted_class"] = found["class"] + found["discrepancy"]
    gradients = {name: p.grad for name, p in method.named_parameters()}
    outputs |= {n: gradients[our_name(n.removeprefix("gradient."))] for n in given if n.startswith("gradient.")}
    return {name: t.detach() for name, t in outputs.items()}


def parts_of(method: ImplicitKnowledge, sides: Any, labels: Tensor, modalities: Tensor) -> dict[str, Tensor]:
    """The single terms that `losses` adds up."""
    visible, infrared, k = slot_rows(labels, modalities)
    half = len(visible) // 2
    mixed = torch.cat([visible[:half], infrared[:half]])
    (s, _, s_logits), (t, _, t_logits) = sides.shared, sides.taught
    graphs = released.released_graph_alignment
    found = {
        "triplet_shared": method._triplet(sides.shared, labels),
        "triplet_purified": method._triplet(sides.taught, labels),
        "identity_shared": method._identity(sides.shared, labels),
        "identity_purified": method._identity(sides.taught, labels),
        "entropy": released.released_entropy_reduction(
            method.specific_classifier(generalised_mean(sides.maps.kept, 3.0)), sides.specific[2]
        ),
        "centres": released.released_centre_reduction(
            *(generalised_mean(m, 3.0) for m in (sides.maps.reduced, sides.maps.normalised)), labels, modalities
        ),
        "mdr_predictions": class_alignment(s_logits[visible], s_logits[infrared], symmetric=True),
        "slots_across": released.slot_alignment(s_logits[visible], s_logits[infrared], k),
        "mdr_own": graphs(s[visible], s[infrared]),
        "mdr_visible_mixed": graphs(s[visible], s[mixed]),
        "mdr_mixed_infrared": graphs(s[mixed], s[infrared]),
    }
    for name, r in (("visible", visible), ("infrared", infrared)):
        found |= {
            f"csa_{name}": class_alignment(s_logits[r], t_logits[r], symmetric=True),
            f"slots_{name}": released.slot_alignment(s_logits[r], t_logits[r], k),
            f"tgsa_{name}": graphs(s[r], t[r]),
        }
    return found


def reranking(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    numbers = about("reranking")["numbers"]
    found = {}
    for gallery in ("hidden", "seen"):
        options = KReciprocal(k1=numbers["k1"], k2=numbers["k2"], weight=numbers["lambda"], gallery=gallery)
        for name, kind in (("distances", torch.float32), ("exact", torch.float64)):
            blocks = reranked_blocks(given["query"].to(kind), given["gallery"].to(kind), options, "cosine")
            found[f"{name}_{gallery}"] = torch.cat([block for _, block in blocks])
    return found


FILES: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "purifier": purifier,
    "terms": terms,
    "discriminator": discriminator,
    "total_sysu": total,
    "total_regdb": lambda given: total(given, **REGDB),
    "reranking": reranking,
}


def rows() -> Iterator[Row]:
    for file in FILES:
        given, found = tensors_of(file), ours(file)
        for output in (name for name in given if name in found):
            apart = difference(found[output], given[output], scale_of(file, output))
            sides = (float(t if t.ndim == 0 else t.double().abs().max()) for t in (given[output], found[output]))
            yield Row(f"{file}: {output}", *sides, apart, tolerance(file, output), SETTING)


deviation = partial(Deviation, setting=SETTING)
DEVIATIONS = (
    deviation(
        "arithmetic of training",
        "float16 by apex O1",
        "bf16 in the recipes; float32 by training.precision=32-true",
        "bf16 needs no loss scaling and has the range of float32; apex is no longer maintained",
    ),
    deviation(
        "weights of graphs at batch sizes other than 120",
        "0.1 of (the first MDR pair + TGSA), no further MDR pairs",
        "the same weights at every batch size",
        "no configuration of the release reaches this case",
    ),
    deviation(
        "LLCM: gallery and cameras",
        "the whole gallery, cameras not read",
        "one image per identity and camera, ten draws; same identity and camera is excluded",
        "figures must be comparable with LLCM's public protocol",
    ),
    deviation(
        "SYSU-MM01 and LLCM: re-ranking",
        "always",
        "on request, and both scores are printed: --rerank k-reciprocal (SYSU-MM01: --option gallery=hidden)",
        "a re-ranked figure must not be compared with one that is not",
    ),
    deviation(
        "re-ranking: encodings and Jaccard distances",
        "float16",
        "the precision of the embeddings",
        "no gain: ours are sparse",
    ),
    deviation(
        "RegDB: trial and the model kept",
        "trial 1 is hard-coded in the reader; the best of every 5th epoch on the test set",
        "ten trials, one model each; the last epoch",
        "selecting on test images inflates the figure",
    ),
    deviation(
        "random numbers",
        "seed 1, with the libraries of that time",
        "training.seed",
        "the release does not pin library versions",
    ),
    deviation(
        "batches in which identities have different numbers of each modality",
        "rows of different identities are compared, or the step fails",
        "rows are paired by identity; slots are cut to the number that all identities have",
        "the release's sampler never makes such a batch; other samplers here may",
    ),
    deviation(
        "what embed and galleries store",
        "RegDB, LLCM: features as they are",
        "length 1; only the recipe's evaluation compares them as they are",
        "galleries compare by cosine",
    ),
)


if __name__ == "__main__":
    printed(rows())
