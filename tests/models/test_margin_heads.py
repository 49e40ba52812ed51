"""Heads with a margin against the papers' equations by the angle itself, and against pytorch-metric-learning."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.methods import Batch, build_method
from crossreid.models.margin_heads import HeadOptions, MarginHead, logits_of, make_classifier, with_angular_margin
from crossreid.runs.recipe import RecipeError, make_recipe
from few_steps import losses_of_steps

CLASSES, WIDTH = 5, 6
NAMES = ("arcface", "cosface", "subcentre")


def head_of(name, **given):
    torch.manual_seed(0)
    return MarginHead(HeadOptions(name=name, **given), WIDTH, CLASSES)


def by_angles(head, name, features, labels, margin, scale):
    """Scaled cosines by loops over plain lists; the margin is added to the angle where that stays below pi."""
    rows = features.tolist()
    every = head.weight.tolist() if name == "subcentre" else [[centre] for centre in head.weight.tolist()]
    logits = []
    for row, label in zip(rows, labels.tolist(), strict=True):
        found = []
        for identity, centres in enumerate(every):
            cosine = max(
                sum(a * b for a, b in zip(row, centre, strict=True)) / (math.hypot(*row) * math.hypot(*centre))
                for centre in centres
            )
            if identity == label and name == "cosface":
                cosine -= margin
            elif identity == label:
                angle = math.acos(max(-1.0, min(1.0, cosine)))
                beyond = angle + margin > math.pi
                cosine = cosine - margin * math.sin(margin) if beyond else math.cos(angle + margin)
            found.append(scale * cosine)
        logits.append(found)
    return torch.tensor(logits, dtype=torch.float64)


@given(st.sampled_from(NAMES), st.integers(0, 2**31), st.sampled_from([0.0, 0.35, 0.5, 1.2]), st.floats(1, 64))
@settings(deadline=None, max_examples=60)
def test_logits_are_the_papers_with_and_without_labels(name, seed, margin, scale):
    generator = torch.Generator().manual_seed(seed)
    head = head_of(name, margin=margin, scale=scale, **({"centres": 2} if name == "subcentre" else {})).double()
    labels = torch.randint(CLASSES - 1, (7,), generator=generator)  # one identity is never there
    features = torch.randn(7, WIDTH, generator=generator, dtype=torch.float64)
    # Some features lie across from their identity, beyond pi - margin.
    features[0] = -(head.weight[labels[0]] if name != "subcentre" else head.weight[labels[0]].sum(0)).detach()
    found = head(features, labels)
    torch.testing.assert_close(found, by_angles(head, name, features, labels, margin, scale), rtol=1e-6, atol=1e-6)
    plain = by_angles(head, name, features, torch.full((7,), -1), margin, scale)
    torch.testing.assert_close(head(features), plain, rtol=1e-6, atol=1e-6)
    order = torch.randperm(7, generator=generator)
    torch.testing.assert_close(head(2.5 * features[order], labels[order]), found[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_losses_agree_with_the_librarys(name):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    features, labels = torch.randn(8, WIDTH), torch.arange(8) % CLASSES
    kinds = {"arcface": losses.ArcFaceLoss, "cosface": losses.CosFaceLoss, "subcentre": losses.SubCenterArcFaceLoss}
    margin = 0.35 if name == "cosface" else math.degrees(0.5)
    theirs = kinds[name](num_classes=CLASSES, embedding_size=WIDTH, margin=margin, scale=30)
    head = head_of(name)
    theirs.W.data = head.weight.detach().flatten(0, -2).T.clone()
    ours = torch.nn.functional.cross_entropy(head(features, labels), labels)
    torch.testing.assert_close(ours, theirs(features, labels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_bit_and_no_weight(name, dtype):
    head = head_of(name)
    half, labels = torch.randn(8, WIDTH).to(dtype), torch.arange(8) % CLASSES
    with torch.autocast("cpu", dtype):
        found = head(half, labels)
    assert found.dtype == head.weight.dtype == torch.float32
    assert torch.equal(found, head(half.float(), labels))


def test_the_gradient_is_that_of_finite_differences_and_finite_where_the_inverse_cosine_has_none():
    cosines = torch.tensor([-0.99, -0.88, -0.5, 0.0, 0.7, 0.999], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: with_angular_margin(values, 0.5), cosines)
    ends = torch.tensor([-1.0, 1.0], requires_grad=True)
    with_angular_margin(ends, 0.5).sum().backward()
    assert ends.grad.isfinite().all()


@given(st.floats(0, 1.5))
@settings(deadline=None, max_examples=30)
def test_the_target_falls_as_the_angle_grows_and_is_below_the_cosine(margin):
    cosines = torch.linspace(1, -1, 2001, dtype=torch.float64)
    moved = with_angular_margin(cosines, margin)
    assert (moved.diff() <= 1e-9).all()
    assert (moved <= cosines + 1e-9).all()


def recipe_of(method="baseline", **head):
    backbone = {"name": "test_resnet", "weights": "none", **({"non_local": [0, 1, 1, 0]} if method == "agw" else {})}
    given = {"name": method, "backbone": backbone, "head": head}
    return make_recipe({"data": {"name": "manifest", "root": "images"}, "method": given})


def batch_of():
    images = torch.randn(8, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])  # of four identities the last is not there
    return Batch(images, labels, torch.arange(8) % 2, torch.zeros_like(labels))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["baseline", "agw"])
def test_methods_learn_with_the_margin_and_predict_without_it(method, name):
    torch.manual_seed(0)
    built = build_method(recipe_of(method, name=name, scale=16.0).method, 4)
    batch = batch_of()
    smoothing = built.options.label_smoothing
    built.eval()
    features, logits = built.predict(batch.images, batch.modalities)
    torch.testing.assert_close(logits, built.classifier(features))
    assert logits.abs().max() <= 16.0
    expected = torch.nn.functional.cross_entropy(
        built.classifier(features, batch.labels), batch.labels, label_smoothing=smoothing
    )
    found = built.losses(batch)["identity"]
    torch.testing.assert_close(found, expected)
    assert found > torch.nn.functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
    course = losses_of_steps(built.train(), batch)
    assert sum(course[-3:]) / 3 < course[0] - 0.5


def test_the_linear_head_is_as_it_was_and_keys_of_the_checkpoint_are_the_same():
    for name in ("linear", *NAMES):
        keys = build_method(recipe_of(name=name).method, 4).state_dict().keys()
        assert [key for key in keys if key.startswith("classifier")] == ["classifier.weight"]
    torch.manual_seed(0)
    made = make_classifier(HeadOptions(), WIDTH, CLASSES)
    features = torch.randn(2, WIDTH)
    assert torch.equal(logits_of(made, features, torch.tensor([0, 1])), features @ made.weight.T)


def test_options_that_a_head_does_not_use_are_refused_and_a_kept_recipe_is_read_again():
    for name, unused, told in (("linear", {"margin": 0.3}, "margin"), ("arcface", {"centres": 2}, "centres")):
        with pytest.raises(RecipeError, match=f"{told}: the head {name} has none"):
            recipe_of(name=name, **unused)
    for name in ("linear", *NAMES):
        kept = HeadOptions(name=name)
        assert HeadOptions.model_validate(kept.model_dump(mode="json")) == kept
