"""The AGW-style baseline: its two terms recomputed, its stems, and that it learns."""

import pytest
import torch

from crossreid.data.batch import Batch
from crossreid.losses.metric import weighted_triplet_loss
from crossreid.methods.agw import AGW, AGWOptions
from crossreid.models.attention import NonLocal
from crossreid.models.pooling import generalised_mean
from few_steps import losses_of_steps

TINY = {"name": "test_resnet", "weights": "none", "non_local": [0, 1, 1, 0]}


def method_of(**given):
    torch.manual_seed(0)
    return AGW(AGWOptions(backbone=TINY, **given), 4).eval()


def batch_of():
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])
    modalities = torch.tensor([0, 1, 0, 1, 0, 1, 1, 0])
    return Batch(torch.randn(8, 3, 32, 16, generator=generator), labels, modalities, torch.zeros_like(labels))


@torch.no_grad()
@pytest.mark.parametrize("features", ["pooled", "unit", "neck"])
def test_terms_are_of_the_pooled_map_before_and_after_the_neck(features):
    given = {"triplet_weight": 0.5, "triplet_features": features, "pooling_power": 2.0, "label_smoothing": 0.1}
    method, batch = method_of(**given), batch_of()
    torch.nn.init.uniform_(method.neck.weight, 0.5, 2.0)
    torch.nn.init.normal_(method.classifier.weight, std=0.3)
    (maps,) = method.network(batch.images, batch.modalities)
    pooled = generalised_mean(maps, 2.0)
    normed = pooled * method.neck.weight / (1 + method.neck.eps) ** 0.5  # running statistics are 0 and 1
    logits = normed @ method.classifier.weight.T
    log_p = logits.log_softmax(1)
    identity = -(0.9 * log_p[torch.arange(8), batch.labels] + 0.1 * log_p.mean(1)).mean()
    found = method.losses(batch)
    torch.testing.assert_close(found["identity"], identity, atol=1e-5, rtol=1e-4)
    rows = {"pooled": pooled, "unit": pooled / pooled.norm(dim=1, keepdim=True)}
    rows["neck"] = normed / normed.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found["triplet"], 0.5 * weighted_triplet_loss(rows[features], batch.labels))


def test_the_published_settings_compare_raw_features():
    assert method_of().options.triplet_features != "pooled"
    assert {method_of(setting=name).options.triplet_features for name in ("paper", "official")} == {"pooled"}


@torch.no_grad()
def test_each_modality_has_a_stem_and_the_rest_is_shared():
    method, batch = method_of(), batch_of()
    as_visible = method.embed(batch.images, torch.zeros(8, dtype=torch.long))
    torch.testing.assert_close(as_visible.norm(dim=1), torch.ones(8))
    next(method.network.infrared_stem.parameters()).mul_(-1)
    torch.testing.assert_close(method.embed(batch.images, torch.zeros(8, dtype=torch.long)), as_visible)
    assert not torch.allclose(method.embed(batch.images, torch.ones(8, dtype=torch.long)), as_visible)
    assert sum(isinstance(module, NonLocal) for module in method.modules()) == 2


def test_a_few_steps_lower_the_loss_and_move_every_weight():
    method, batch = method_of().train(), batch_of()
    before = {name: p.detach().clone() for name, p in method.named_parameters() if p.requires_grad}
    course = losses_of_steps(method, batch)
    assert course[-1] < 0.8 * course[0]
    still = [name for name, p in method.named_parameters() if name in before and torch.equal(p, before[name])]
    assert not still


def test_a_second_stream_is_refused():
    with pytest.raises(ValueError, match="one stream"):
        method_of(stages={"stems": 1, "split": 2})


def test_another_backbone_keeps_the_published_blocks():
    assert AGWOptions(backbone={"name": "resnet50", "weights": "none"}).backbone.non_local == (0, 2, 3, 0)
    assert AGWOptions().backbone.non_local == (0, 2, 3, 0)
    with pytest.raises(ValueError, match="asks for 3 blocks of stage layer3"):
        AGW(AGWOptions(backbone={"name": "resnet18", "weights": "none"}), 4)


def test_the_released_pooling_does_not_learn():
    with pytest.raises(ValueError, match="learn_pooling is true"):
        AGWOptions(pooling="release")
    assert not AGWOptions(setting="official").learn_pooling
    assert AGWOptions(setting="paper").backbone.non_local_width is None


def test_a_transformer_has_no_non_local_blocks_unless_they_are_asked_for():
    for name, blocks in (("test_vit", ()), ("test_convnext", ()), ("resnet18", (0, 2, 3, 0))):
        assert AGWOptions(backbone={"name": name}).backbone.non_local == blocks, name
    assert AGWOptions(backbone={"name": "test_vit", "non_local": [1]}).backbone.non_local == (1,)
