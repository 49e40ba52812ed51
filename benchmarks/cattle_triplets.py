"""Why triplets of raw features perform worse on real cattle: variants of the baseline on validation cows.

Each row is one change: the features that are compared (before the neck, raw or of length 1, or behind it, of length 1),
the choice of pairs, their hardness, margin, weight, rate, batch, pooling, necks and batch statistics per modality; or
the ranking loss instead of the triplet loss. Besides its accuracy, a row records for the first and the last batch the
norm of each loss's gradient in the backbone, the cosine between the two, and mean distances of pairs by kind. The cows
and the base are those of `cattle.py --validation`.

    python benchmarks/cattle_triplets.py IMAGES WEIGHTS OUT [--rows NAME ...] [--seeds 0] [--size 64x40] [--epochs 8] [--json FILE]

Every finished run has a result file in OUT; running the same command again resumes where it stopped. Training is in
float32 with channels last, which takes half of the time on a CPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cattle import recipe_of, write_manifest
from crossreid.cli.parsing import numbers
from crossreid.data.batch import Batch
from crossreid.data.training_loading import TrainLoader
from crossreid.files import write_json
from crossreid.losses.metric import euclidean_distances, modality_aware_ranking_loss
from crossreid.methods.baseline import Baseline, BaselineOptions
from crossreid.methods.method import register_method
from crossreid.models.heads import bn_neck
from crossreid.models.pooling import generalised_mean
from crossreid.registry import load_plugins
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import fresh_method, open_split
from crossreid.runs.scoring import embed_features, score_features
from crossreid.training.optimisation import make_optimiser, rate_factor, set_rates
from machine import machine

# What each changes of the baseline: batch-hard triplets of raw features, margin 0.3, weight 1, beside the identity loss.
ROWS: dict[str, list[str]] = {
    "base": [],
    "identity": ["method.triplet_weight=0"],
    "unit": ["method.features=unit"],
    "neck": ["method.features=neck"],
    "ranking": ["method.features=neck", "method.loss=ranking"],
    "ranking-unit": ["method.features=unit", "method.loss=ranking"],
    "light": ["method.triplet_weight=0.005"],
    "soft": ["method.margin=null"],
    "unit-soft": ["method.features=unit", "method.margin=null"],
    "neck-soft": ["method.features=neck", "method.margin=null"],
    "across": ["method.pairs=across"],
    "separate": ["method.pairs=separate"],
    "unit-separate": ["method.features=unit", "method.pairs=separate"],
    "neck-separate": ["method.features=neck", "method.pairs=separate"],
    "mean-positive": ["method.hardness=mean positive"],
    "weighted": ["method.hardness=weighted", "method.margin=null"],
    "unit-mean-positive": ["method.features=unit", "method.hardness=mean positive"],
    "unit-weighted": ["method.features=unit", "method.hardness=weighted", "method.margin=null"],
    "neck-mean-positive": ["method.features=neck", "method.hardness=mean positive"],
    "neck-weighted": ["method.features=neck", "method.hardness=weighted", "method.margin=null"],
    "slow": ["training.optimiser.lr=1e-4"],
    "warm-up": ["training.schedule.warmup_epochs=2"],
    "4x16": ["data.sampler.identities=4", "data.sampler.images=16"],
    "16x4": ["data.sampler.identities=16", "data.sampler.images=4"],
    "gem": ["method.power=3"],
    "two-necks": ["method.necks=2"],
    "two-passes": ["method.passes=2"],
}
# The other methods that have triplets: what these compare, and how IDKL's shared stream forgets the modality.
AGW, IDKL = {"name": "agw"}, {"name": "implicit_knowledge"}
METHODS: dict[str, dict[str, Any]] = {
    "agw-pooled": AGW | {"triplet_features": "pooled"},
    "agw-neck": AGW | {"triplet_features": "neck"},
    "idkl-pooled": IDKL | {"triplet_features": "pooled", "reversal": 1.0},
    "idkl-neck": IDKL | {"triplet_features": "neck", "reversal": 1.0},
    "idkl-reversal-0.1": IDKL | {"triplet_features": "neck", "reversal": 0.1},
    "idkl-no-confuser": IDKL | {"triplet_features": "neck", "confuser": "none"},
    "agw-official": AGW | {"setting": "official"},
    "idkl-official": IDKL | {"setting": "official"},
}


class VariantOptions(BaselineOptions):
    name: Literal["triplet_variant"] = "triplet_variant"
    features: Literal["pooled", "unit", "neck"] = "pooled"
    pairs: Literal["all", "across", "separate"] = "all"
    hardness: Literal["hard", "mean positive", "weighted"] = "hard"
    loss: Literal["triplet", "ranking"] = "triplet"
    power: float = 1.0  # p of GeM; 1 is the mean
    necks: Literal[1, 2] = 1  # 2: one a modality
    passes: Literal[1, 2] = 1  # 2: batch statistics of the whole network are of one modality each


@register_method("triplet_variant", options=VariantOptions)
class Variant(Baseline):
    options: VariantOptions

    def __init__(self, options: VariantOptions, classes: int) -> None:
        super().__init__(options, classes)
        if options.necks == 2:
            self.infrared_neck = bn_neck(self.encoder.width)

    def pooled(self, images: Tensor) -> Tensor:
        if self.options.power == 1:
            return self.encoder.pool(images)
        return generalised_mean(self.encoder.backbone(images), self.options.power)

    def both(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """Features before and after the neck, each `(B, width)`."""
        infrared = modalities == 1
        if self.options.passes == 2 and self.training:
            visible, other = self.pooled(images[~infrared]), self.pooled(images[infrared])
            pooled = torch.empty(len(images), visible.shape[1])
            pooled[~infrared], pooled[infrared] = visible.float(), other.float()
        else:
            pooled = self.pooled(images)
        if self.options.necks == 1:
            return pooled, self.encoder.neck(pooled)
        normed = torch.empty_like(pooled)
        for rows, neck in ((~infrared, self.encoder.neck), (infrared, self.infrared_neck)):
            if rows.any():
                normed[rows] = neck(pooled[rows])
        return pooled, normed

    def terms(self, pooled: Tensor, normed: Tensor, batch: Batch) -> dict[str, Tensor]:
        options, labels = self.options, batch.labels
        logits = self.classifier(normed)
        terms = {"identity": F.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)}
        kept = {"pooled": lambda: pooled, "unit": lambda: unit(pooled), "neck": lambda: unit(normed)}[
            options.features
        ]()
        if options.triplet_weight and options.loss == "ranking":
            terms["triplet"] = options.triplet_weight * modality_aware_ranking_loss(kept, labels, batch.modalities)
        elif options.triplet_weight:
            terms["triplet"] = options.triplet_weight * triplets(kept, labels, batch.modalities, options)
        return terms

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        pooled, normed = self.both(batch.images, batch.modalities)
        return self.terms(pooled.float(), normed.float(), batch)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.both(images, modalities)[1].float()


def unit(features: Tensor) -> Tensor:
    return F.normalize(features, dim=1)


def triplets(features: Tensor, labels: Tensor, modalities: Tensor, options: VariantOptions) -> Tensor:
    """The mean over anchors, and over kinds of pairs, of the triplet's term; every anchor has pairs of all kinds."""
    distances = euclidean_distances(features, features)
    same, alike = labels[:, None] == labels, modalities[:, None] == modalities
    every, itself = torch.ones_like(same), torch.eye(len(labels), dtype=torch.bool)
    total = features.new_zeros(())
    kinds = {"all": [every], "across": [~alike], "separate": [alike, ~alike]}[options.pairs]
    for kind in kinds:
        positives, negatives = same & ~itself & kind, ~same & kind
        near = distances.masked_fill(~negatives, torch.inf).amin(1)
        far = distances.masked_fill(~positives, -torch.inf).amax(1)
        if options.hardness == "mean positive":
            far = (distances * positives).sum(1) / positives.sum(1)
        elif options.hardness == "weighted":
            far = (distances.masked_fill(~positives, -torch.inf).softmax(1) * distances * positives).sum(1)
            near = ((-distances).masked_fill(~negatives, -torch.inf).softmax(1) * distances * negatives).sum(1)
        apart = far - near
        total = total + (F.softplus(apart) if options.margin is None else (apart + options.margin).clamp_min(0)).mean()
    return total / len(kinds)


def looked_at(method: Variant, batch: Batch) -> dict[str, Any]:
    """Each term's value and the norm of its gradient in the backbone, their cosine, and mean distances of pairs."""
    pooled, normed = (part.float() for part in method.both(batch.images, batch.modalities))
    terms, weights = method.terms(pooled, normed, batch), list(method.encoder.backbone.parameters())
    gradients = {
        name: torch.cat([part.flatten() for part in torch.autograd.grad(term, weights, retain_graph=True)])
        for name, term in terms.items()
    }
    told: dict[str, Any] = {name: float(term.detach()) for name, term in terms.items()}
    told["gradients"] = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    if len(gradients) == 2:
        told["cosine"] = float(F.cosine_similarity(*gradients.values(), dim=0))
    same, alike = batch.labels[:, None] == batch.labels, batch.modalities[:, None] == batch.modalities
    other = ~torch.eye(len(same), dtype=torch.bool)
    spaces = {"pooled": pooled.detach(), "unit": unit(pooled.detach()), "neck": unit(normed.detach())}
    for name, features in spaces.items():
        distances = euclidean_distances(features, features)
        told[name] = {
            "norm": float(features.norm(dim=1).mean()),
            "positive within": float(distances[same & alike & other].mean()),
            "positive across": float(distances[same & ~alike].mean()),
            "negative within": float(distances[~same & alike].mean()),
            "negative across": float(distances[~same & ~alike].mean()),
            "hardest positive": float(distances.masked_fill(~same | ~other, -1).amax(1).mean()),
            "hardest negative": float(distances.masked_fill(same, torch.inf).amin(1).mean()),
        }
    return told


def run_of(recipe: Recipe) -> dict[str, Any]:
    """Train and score on the validation cows; the results of a row."""
    start, seed = time.perf_counter(), recipe.training.seed
    split = open_split(recipe)
    loader = TrainLoader(split.train, recipe.data, seed=seed)
    method = fresh_method(recipe, split).to(memory_format=torch.channels_last)
    optimiser = make_optimiser(method, recipe.training.optimiser)
    steps, epochs, looks = loader.steps_in(0), recipe.training.epochs, []
    for step, batch in enumerate(batch for epoch in range(epochs) for batch in loader(epoch)):
        method.train()
        batch = batch._replace(images=batch.images.to(memory_format=torch.channels_last))
        if isinstance(method, Variant) and step in (0, steps * epochs - 1):
            looks.append({"step": step, **looked_at(method, batch)})
        method.progress = step / (steps * epochs)
        set_rates(optimiser, rate_factor(recipe.training.schedule, step, steps_per_epoch=steps, epochs=epochs))
        loss = torch.stack(list(method.losses(batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    method.eval()
    score = score_features(embed_features(method, split, recipe), split, recipe)[0]
    found = {"rank-1": score.rank(1), "mAP": score.mAP, "mINP": score.mINP}
    return {**found, "steps": steps * epochs, "seconds": round(time.perf_counter() - start), "looks": looks}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, *METHODS], default=list(ROWS), metavar="NAME")
    parser.add_argument("--seeds", type=numbers, default=[0])
    parser.add_argument("--size", default="64x40", metavar="HxW")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    height, width = map(int, given.size.split("x"))
    manifest, asked = write_manifest(given.images, given.out, (height, width), validation=True)
    folder, results = given.out / f"triplets-{given.size}-{given.epochs}", []
    for seed in given.seeds:
        for name in given.rows:
            changes = [*ROWS.get(name, ()), f"training.seed={seed}", "training.accelerator=cpu"]
            method = METHODS.get(name, {"name": "triplet_variant"})
            recipe = recipe_of(
                method, manifest, given.weights, (height, width), given.epochs, changes, arithmetic="32-true"
            )
            load_plugins()
            path = folder / name / f"seed-{seed}.json"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(
                    path, {"row": name, "seed": seed, "changes": ROWS.get(name, METHODS.get(name)), **run_of(recipe)}
                )
            results.append(json.loads(path.read_text(encoding="utf-8")))
            print(
                f"{name}, seed {seed}: {100 * results[-1]['rank-1']:.1f} / {100 * results[-1]['mAP']:.1f}", flush=True
            )
    if given.json:
        told = {"size": given.size, "epochs": given.epochs, "held_out": asked}
        write_json(given.json, {"machine": machine(), **told, "rows": results})


if __name__ == "__main__":
    main()
