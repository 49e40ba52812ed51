"""The strong baseline: its terms recomputed from its features, and what it embeds."""

import pytest
import torch
from torch.nn import functional as F

from crossreid.methods.strong_baseline import StrongBaseline, StrongBaselineOptions
from eight_images import CLASSES, batch_of
from few_steps import losses_of_steps


def method_of(**given):
    torch.manual_seed(0)
    options = StrongBaselineOptions(backbone={"name": "test_resnet", "weights": "none"}, **given)
    method = StrongBaseline(options, CLASSES)
    torch.nn.init.normal_(method.classifier.weight, std=0.3)
    return method


def test_terms_are_what_a_loop_over_images_gives():
    method, batch = method_of(triplet_weight=0.5, label_smoothing=0.2), batch_of()
    labels = batch.labels.tolist()
    with torch.no_grad():
        found = {name: term.item() for name, term in method.losses(batch).items()}
        pooled = method.encoder.pool(batch.images, batch.modalities).double()
        normed = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
        logits = normed @ method.classifier.weight.double().T
        identity = [
            -(0.8 * row.log_softmax(0)[label] + 0.2 * row.log_softmax(0).mean())
            for row, label in zip(logits, labels, strict=True)
        ]
        unit = [row / row.norm() for row in normed]
        triplets = []
        for i, anchor in enumerate(unit):
            near = torch.tensor([(anchor - b).norm() for j, b in enumerate(unit) if labels[j] == labels[i] and j != i])
            far = torch.tensor([(anchor - b).norm() for j, b in enumerate(unit) if labels[j] != labels[i]])
            if len(near):
                gap = (near.softmax(0) * near).sum() - ((-far).softmax(0) * far).sum()
                triplets.append(F.softplus(gap))
    expected = {"identity": torch.stack(identity).mean().item(), "triplet": 0.5 * torch.stack(triplets).mean().item()}
    assert found == pytest.approx(expected, rel=1e-3)


@torch.no_grad()
def test_embeddings_are_the_feature_after_the_neck_of_length_one_whatever_the_modality():
    method, batch = method_of(), batch_of()
    for _ in range(3):
        method.losses(batch)  # the neck's running statistics leave their start
    method.eval()
    embeddings = method.embed(batch.images, batch.modalities)
    neck, pooled = method.encoder.neck, method.encoder.pool(batch.images)
    normed = (pooled - neck.running_mean) / (neck.running_var + neck.eps).sqrt()
    torch.testing.assert_close(embeddings, normed / normed.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)
    assert torch.equal(embeddings, method.embed(batch.images, 1 - batch.modalities))


def test_a_few_steps_lower_the_loss():
    course = losses_of_steps(method_of().train(), batch_of())
    assert sum(course[-3:]) / 3 < course[0] - 0.5


def test_losses_of_a_recipe_are_added_behind_the_neck():
    method, batch = method_of(losses={"hetero_centre": 0.5, "circle": 0.1}), batch_of()
    assert set(method.losses(batch)) == {"identity", "triplet", "hetero_centre", "circle"}
