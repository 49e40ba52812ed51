"""The faster precision is taken where it embeds alike."""

import time

import torch

from crossreid.inference.faster_precision import faster_precision


def test_auto_takes_the_precision_that_was_faster_and_alike(model, records):
    """A model that sleeps in one precision, or says another thing in bf16."""

    class Slow:
        runtime, device, preprocessing = "torch", torch.device("cpu"), model.preprocessing
        precisions = model.precisions

        def __init__(self, sleeps_in, wrong=False):
            self.sleeps_in, self.wrong, self.precision = sleeps_in, wrong, "float32"

        def with_precision(self, precision):
            self.precision = precision
            return self

        def embed(self, images, modalities):
            time.sleep(0.02 if self.precision == self.sleeps_in else 0.002)
            rows = torch.nn.functional.normalize(torch.ones(len(images), 4), dim=1)
            return -rows if self.wrong and self.precision == "bf16" else rows

    for network, expected in ((Slow("float32"), "bf16"), (Slow("bf16"), "float32"), (Slow("float32", True), "float32")):
        chosen, why = faster_precision(network, records, batch=3)
        assert chosen == network.precision == expected
        assert "times as fast on 3 images, cosine at least" in why
