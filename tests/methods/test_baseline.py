"""The baseline's two terms recomputed by hand, and its embeddings."""

import math

import numpy as np
import pytest
import torch

from crossreid.data.batch import Batch
from crossreid.methods import build_method
from crossreid.methods.baseline import Baseline, BaselineOptions
from eight_images import CLASSES, batch_of
from few_steps import losses_of_steps


def method_of(**given):
    torch.manual_seed(0)
    options = BaselineOptions(backbone={"name": "test_resnet", "weights": "none"}, **given)
    method = Baseline(options, CLASSES).eval()
    torch.nn.init.normal_(method.classifier.weight, std=0.3)
    return method


@pytest.mark.parametrize("features", ["pooled", "unit", "neck"])
@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_terms_are_what_a_loop_over_images_gives(margin, smoothing, features):
    method = method_of(margin=margin, label_smoothing=smoothing, triplet_weight=2.0, triplet_features=features)
    torch.nn.init.uniform_(method.encoder.neck.weight, 0.5, 2.0)
    batch = batch_of()
    labels = batch.labels.tolist()
    with torch.no_grad():
        pooled = [method.encoder.pool(image[None])[0] for image in batch.images]
        rows = [method.classifier(method.encoder.neck(row[None]))[0].double().numpy() for row in pooled]
    identity = []
    for row, label in zip(rows, labels, strict=True):
        log_p = row - np.log(np.exp(row).sum())
        identity.append(-(1 - smoothing) * log_p[label] - smoothing * log_p.mean())
    with torch.no_grad():
        compared = [method.encoder.neck(row[None])[0] if features == "neck" else row for row in pooled]
    compared = [row if features == "pooled" else row / row.norm() for row in compared]
    triplet = []
    for i, anchor in enumerate(compared):
        near = [float((anchor - b).norm()) for j, b in enumerate(compared) if labels[j] == labels[i] and j != i]
        far = [float((anchor - b).norm()) for j, b in enumerate(compared) if labels[j] != labels[i]]
        if near:
            gap = max(near) - min(far)
            triplet.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin))
    found = {name: term.item() for name, term in method.losses(batch).items()}
    assert found == pytest.approx({"identity": np.mean(identity), "triplet": 2 * np.mean(triplet)}, rel=1e-3)


def test_order_of_the_batch_is_irrelevant():
    method, batch = method_of(), batch_of()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(2))
    shuffled = method.losses(Batch(*(None if part is None else part[order] for part in batch)))
    for name, term in method.losses(batch).items():
        torch.testing.assert_close(shuffled[name], term, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_embeddings_have_length_one_and_do_not_see_the_modality():
    method, batch = method_of(), batch_of()
    embeddings = method.embed(batch.images, batch.modalities)
    assert embeddings.shape == (8, method.encoder.width)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(8))
    assert torch.equal(embeddings, method.embed(batch.images, 1 - batch.modalities))
    one = method.embed(batch.images[:1], batch.modalities[:1])
    torch.testing.assert_close(one, embeddings[:1], atol=1e-5, rtol=1e-4)


def test_a_few_steps_lower_the_loss():
    method, batch = method_of(), batch_of()
    method.train()
    course = losses_of_steps(method, batch)
    assert np.mean(course[-3:]) < course[0] - 0.5


def test_every_learnable_parameter_learns():
    method = method_of()
    method.train()
    torch.stack(list(method.losses(batch_of()).values())).sum().backward()
    assert all(parameter.grad is not None for parameter in method.parameters() if parameter.requires_grad)


def test_the_table_builds_it():
    assert isinstance(build_method(BaselineOptions(backbone={"name": "test_resnet", "weights": "none"}), 3), Baseline)
