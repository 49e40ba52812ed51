"""Write a method: a class with options and a decorator, which recipes and commands can then use by name.

    python examples/write_a_method.py world runs/smoothed
    PYTHONPATH=examples crossreid --plugin write_a_method recipe baseline_synthetic --set "method={name: smoothed}"

This one is a shared encoder whose classifier learns smoothed labels; features are pulled to their identity's mean.
"""

import argparse
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch.nn import functional as F

import crossreid
from crossreid.methods import Batch, Method, MethodOptions
from crossreid.models.heads import Encoder


class SmoothedOptions(MethodOptions):
    """The keys of `method` in a recipe, checked when it is read."""

    name: Literal["smoothed"] = Field("smoothed", description="One encoder, smoothed labels, compact identities.")
    smoothing: float = Field(0.1, ge=0, lt=1, description="Share of the label spread evenly over all identities.")
    compact_weight: float = Field(0.01, ge=0, description="Weight of the distance from an identity's mean.")


@crossreid.register_method("smoothed", options=SmoothedOptions, title="Smoothed labels")
class Smoothed(Method):
    def __init__(self, options: SmoothedOptions, classes: int) -> None:
        super().__init__()
        self.options, self.encoder = options, Encoder(options.backbone)
        self.classifier = torch.nn.Linear(self.encoder.width, classes)

    @property
    def encoders(self):
        return [self.encoder.backbone]

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Named terms, already weighted: the loop sums them and logs each."""
        features, logits = map(self.gather, self.predict(batch.images, batch.modalities))
        labels = self.gather(batch.labels)
        same = F.normalize((labels[:, None] == labels).float(), p=1, dim=1)
        compact = (features - same @ features).square().mean()
        identity = F.cross_entropy(logits.float(), labels, label_smoothing=self.options.smoothing)
        return {"identity": identity, "compact": self.options.compact_weight * compact}

    def predict(self, images: torch.Tensor, modalities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder(images)
        return features, self.classifier(features)

    def features(self, images: torch.Tensor, modalities: torch.Tensor) -> torch.Tensor:
        """What retrieval compares, `(B, D)`; it is normalised to length 1 afterwards."""
        return self.encoder(images).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path, help="a folder for rendered people, created if missing")
    parser.add_argument("out", type=Path, help="the folder of the run")
    parser.add_argument("--identities", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()

    if not given.world.exists():
        crossreid.synthesise(given.world, "sysu-mm01", given.identities, 0, images_per_camera=4, size=(64, 32))
    recipe = crossreid.load_recipe(
        "baseline_synthetic",  # for its data and training; the method is replaced
        [f"data.root={given.world}", f"training.epochs={given.epochs}", "data.sampler.identities=4",
         "method={name: smoothed, smoothing: 0.2, backbone: {name: test_resnet, weights: none}}"],
    )  # fmt: skip
    crossreid.train(recipe, given.out)
    for score in crossreid.evaluate(given.out):
        print(score)


if __name__ == "__main__":
    main()
