"""IDKL: its terms recomputed from what its network gives, who gets which gradient, and batches of any composition."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.data.composition import paired_as_drawn, paired_rows, slot_rows
from crossreid.losses import alignment
from crossreid.losses import released_knowledge as released
from crossreid.losses.metric import triplet_loss, weighted_triplet_loss
from crossreid.methods.implicit_knowledge import ImplicitKnowledge, ImplicitKnowledgeOptions
from crossreid.models.pooling import generalised_mean

TINY = {"name": "test_resnet", "weights": "none"}
SETTINGS = ("crossreid", "paper", "official")


def method_of(classes=4, **given):
    torch.manual_seed(0)
    method = ImplicitKnowledge(ImplicitKnowledgeOptions(backbone=TINY, **given), classes)
    for classifier in (method.shared_classifier, method.specific_classifier):
        torch.nn.init.normal_(classifier.weight, std=0.3)
    return method.eval()


def batch_of(labels=(0, 0, 1, 1, 2, 2, 2, 3), modalities=(0, 1, 0, 1, 0, 1, 1, 0)):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(labels), 3, 64, 32, generator=generator)
    return Batch(images, torch.tensor(labels), torch.tensor(modalities), torch.zeros(len(labels), dtype=torch.long))


def gradients(method, term):
    method.zero_grad()
    term.backward()
    return {name: p.grad.abs().sum().item() for name, p in method.named_parameters() if p.grad is not None}


@torch.no_grad()
@pytest.mark.parametrize("features", ["pooled", "unit", "neck"])
@pytest.mark.parametrize(("setting", "kind"), [("crossreid", "weighted"), ("crossreid", "hard"), ("paper", "hard")])
def test_terms_are_the_equations_of_what_the_streams_give(setting, kind, features):
    method, batch = method_of(setting=setting, triplet=kind, margin=0.3, triplet_features=features), batch_of()
    triplets = weighted_triplet_loss if kind == "weighted" else partial(triplet_loss, margin=0.3)
    method.progress = 0.3
    o = method.options
    labels, kinds = batch.labels, batch.modalities
    shared_map, specific_map = method.network(batch.images, kinds)
    maps = method.purifier(specific_map)
    sh, sp, pure = (generalised_mean(m, 3.0) for m in (shared_map, specific_map, maps.purified))
    scale = (1 + method.shared_neck.eps) ** -0.5  # running statistics are 0 and 1
    z_sh = scale * sh @ method.shared_classifier.weight.T
    z_sp, z_pure = (scale * f @ method.specific_classifier.weight.T for f in (sp, pure))
    # After a neck they are longer by one factor: of length 1, the same.
    rows = [f if features == "pooled" else F.normalize(f, dim=1) for f in (sh, sp, pure)]
    reid = [(F.cross_entropy(z, labels), triplets(f, labels)) for z, f in zip((z_sh, z_sp), rows[:2], strict=True)]
    kept = generalised_mean(maps.kept, 3.0)
    kept = (kept - kept.mean(0)) / (kept.var(0, correction=0) + method.specific_neck.eps).sqrt()
    one, two = paired_rows(labels, kinds)
    a, b = (F.normalize(f, dim=1) if setting == "crossreid" else f for f in (sh, pure))  # what graphs are of
    expected = {
        "identity": reid[0][0] + reid[1][0],
        "triplet": reid[0][1] + reid[1][1],
        "discrimination": F.cross_entropy(method.discriminator(scale * sp), kinds),
        "confusion": F.cross_entropy(method.confuser(scale * sh), kinds),
        "purifier": o.purifier_weight * (
            alignment.entropy_reduction(kept @ method.specific_classifier.weight.T, z_sp)
            + alignment.centre_reduction(
                generalised_mean(maps.reduced, 3.0), generalised_mean(maps.normalised, 3.0), labels, kinds
            )
        ),
        "purified": o.purifier_weight * (F.cross_entropy(z_pure, labels) + triplets(rows[2], labels)),
        "relation": o.relation_weight * sum(
            alignment.graph_alignment(b[kinds == k], a[kinds == k]) for k in (0, 1)
        ),
        "class": o.class_weight * sum(
            alignment.class_alignment(z_pure[kinds == k], z_sh[kinds == k]) for k in (0, 1)
        ),
        "discrepancy": alignment.graph_alignment(a[one], a[two])
        + alignment.class_alignment(z_sh[one], z_sh[two]),
    }  # fmt: skip
    found = method.losses(batch)
    assert set(found) == set(expected)
    for name, term in expected.items():
        torch.testing.assert_close(
            found[name], term, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


@torch.no_grad()
@pytest.mark.parametrize("purifier", [True, False])
def test_official_terms_are_what_the_release_makes_of_what_the_streams_give(purifier):
    """tests/parity compares their values with the release's; here with what each of them is of."""
    method, batch = method_of(setting="official", purifier=purifier, classifier_start="small"), batch_of()
    torch.nn.init.normal_(method.specific_classifier.weight, std=0.3)
    o, labels, kinds = method.options, batch.labels, batch.modalities
    shared_map, specific_map = method.network(batch.images, kinds)
    sh, sp = (generalised_mean(m, 3.0) for m in (shared_map, specific_map))
    scale = (1 + method.shared_neck.eps) ** -0.5  # running statistics are 0 and 1
    z_sh = scale * sh @ method.shared_classifier.weight.T
    pure, classifier = sp, method.specific_classifier
    if purifier:
        maps = method.purifier(specific_map)
        pure, classifier = generalised_mean(maps.purified, 3.0), method.purified_classifier
    z_pure = scale * pure @ classifier.weight.T
    one, two = paired_as_drawn(labels, kinds)
    rows = [(kinds == kind).nonzero().flatten() for kind in (0, 1)]
    first, second, k = slot_rows(labels, kinds)
    expected = {
        "identity": F.cross_entropy(z_sh, labels) + F.cross_entropy(z_pure, labels),
        "triplet": sum(triplet_loss(f, labels, margin=1.3, own_positive=True) for f in (sh, pure)),
        "discrimination": F.cross_entropy(method.discriminator(scale * pure), kinds),
        "confusion": F.cross_entropy(
            method.confuser(scale * sh), released.released_pseudo_modalities(labels, kinds)
        ),
        "relation": o.relation_weight * sum(released.released_graph_alignment(sh[r], pure[r]) for r in rows),
        "class": o.class_weight * sum(alignment.class_alignment(z_sh[r], z_pure[r], symmetric=True) for r in rows),
        "discrepancy": released.mixed_graph_alignment(sh[one], sh[two])
        + alignment.class_alignment(z_sh[one], z_sh[two], symmetric=True),
        "slots": released.slot_alignment(z_sh[first], z_sh[second], k)
        + o.class_weight * sum(released.slot_alignment(z_sh[r], z_pure[r], k) for r in (first, second)),
    }  # fmt: skip
    if purifier:
        kept = generalised_mean(maps.kept, 3.0)
        entropy = released.released_entropy_reduction(
            kept @ method.specific_classifier.weight.T, sp @ method.specific_classifier.weight.T
        )
        reduced, normalised = (generalised_mean(m, 3.0) for m in (maps.reduced, maps.normalised))
        centres = released.released_centre_reduction(reduced, normalised, labels, kinds)
        expected["purifier"] = o.purifier_weight * (entropy + centres)
    found = method.losses(batch)
    assert set(found) == set(expected)
    for name, term in expected.items():
        torch.testing.assert_close(
            found[name], term, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_regdbs_weights_leave_graphs_out():
    method = method_of(setting="official", relation_weight=0.0, discrepancy_graphs=False, class_weight=0.3)
    terms, whole = method.losses(batch_of()), method_of(setting="official").losses(batch_of())
    assert set(whole) - set(terms) == {"relation"}
    assert float(terms["class"].detach()) == pytest.approx(float(whole["class"].detach()) * 0.3 / 0.8, rel=1e-5)
    assert float(terms["discrepancy"].detach()) < float(whole["discrepancy"].detach())


@pytest.mark.parametrize("key", ["stop_gradient", "diagonal"])
def test_the_release_leaves_no_choice_of_form(key):
    with pytest.raises(ValueError, match=f"{key}: the release's objective has {key}=false; objective=equations"):
        method_of(setting="official", **{key: True})


def test_the_own_setting_reverses_little_and_compares_unit_features_by_weights():
    told = {name: ImplicitKnowledgeOptions(setting=name) for name in SETTINGS}
    assert {name: (o.reversal, o.triplet_features, o.triplet) for name, o in told.items()} == {
        "crossreid": (0.1, "neck", "weighted"), "paper": (1.0, "pooled", "hard"), "official": (1.0, "pooled", "hard"),
    }  # fmt: skip


def test_the_confuser_opposes_the_shared_stream_and_only_it():
    batch = batch_of()
    found = {}
    for strength in (1.0, 0.5):
        method = method_of(reversal=strength, reversal_schedule="constant")
        found[strength] = gradients(method, method.losses(batch)["confusion"])
    # The classifier behind the reversal learns the same whatever its strength, what feeds it half as much.
    assert found[1.0]["confuser.0.weight"] == pytest.approx(found[0.5]["confuser.0.weight"])
    path = max((name for name in found[1.0] if name.startswith("network.streams.0")), key=found[1.0].__getitem__)
    assert found[1.0][path] > 1e-4
    assert found[1.0][path] == pytest.approx(2 * found[0.5][path], rel=1e-4)
    assert not any(name.startswith(("network.streams.1", "purifier", "specific")) for name in found[1.0])

    method, plain = method_of(reversal=1.0, reversal_schedule="constant"), method_of()
    method.losses(batch)["confusion"].backward()
    kinds = batch.modalities
    feature = plain.shared_neck(plain.shared_pooling(plain.network(batch.images, kinds)[0]))
    F.cross_entropy(plain.confuser(feature), kinds).backward()
    torch.testing.assert_close(method.get_parameter(path).grad, -plain.get_parameter(path).grad, atol=1e-6, rtol=1e-3)


def test_the_schedule_follows_the_progress_of_training():
    batch, found = batch_of(), {}
    for progress in (0.0, 0.1, 1.0):
        method = method_of()
        method.progress = progress
        seen = gradients(method, method.losses(batch)["confusion"])
        found[progress] = sum(value for name, value in seen.items() if name.startswith("network.streams.0"))
    assert found[0.0] == 0
    assert 0 < found[0.1] < found[1.0]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("term", ["relation", "class"])
def test_knowledge_flows_to_the_shared_stream(term, setting):
    method = method_of(setting=setting)
    found = gradients(method, method.losses(batch_of())[term])
    assert any(name.startswith("network.streams.0") for name in found)
    assert any(name.startswith("network.streams.1") for name in found) == (setting != "crossreid")


@pytest.mark.parametrize(
    ("labels", "modalities"),
    [
        ((0, 0, 0, 1, 1, 1, 1), (0, 0, 1, 0, 1, 1, 1)),  # uneven numbers of each modality
        ((2, 2, 2, 2), (0, 0, 1, 1)),  # one identity
        ((0, 0, 1, 1), (0, 1, 0, 1)),  # one image of each
        ((0, 0, 1, 2), (0, 1, 0, 1)),  # identities of one modality beside one of both
    ],
)
@pytest.mark.parametrize("setting", SETTINGS)
def test_any_composition_has_finite_terms_and_gradients(labels, modalities, setting):
    method = method_of(setting=setting).train()
    terms = method.losses(batch_of(labels, modalities))
    torch.stack(list(terms.values())).sum().backward()
    assert all(bool(torch.isfinite(term)) for term in terms.values())
    assert all(bool(torch.isfinite(p.grad).all()) for p in method.parameters() if p.grad is not None)


def test_a_batch_of_one_modality_is_refused_by_name():
    with pytest.raises(ValueError, match="no identity in both modalities"):
        method_of().losses(batch_of((0, 0, 1, 1), (0, 0, 0, 0)))


def test_order_of_the_batch_is_irrelevant_but_to_pseudo_labels():
    batch = batch_of()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(2))
    for setting in SETTINGS:
        method = method_of(setting=setting, stop_gradient=False)
        one, two = (
            method.losses(batch),
            method.losses(Batch(*(None if part is None else part[order] for part in batch))),
        )
        # The order says which images MDR and slots compare with each other.
        for name in one.keys() - ({"confusion"} if setting == "official" else set()) - {"discrepancy", "slots"}:
            torch.testing.assert_close(one[name], two[name], atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_the_shared_stream_is_tested_or_both():
    batch = batch_of()
    shared, both = method_of(), method_of(test_features="both")
    embeddings = shared.embed(batch.images, batch.modalities)
    assert embeddings.shape == (8, 96)
    assert torch.equal(embeddings, shared.embed(batch.images, 1 - batch.modalities))
    wide = both.embed(batch.images, batch.modalities)
    torch.testing.assert_close(wide[:, :96] * 2**0.5, embeddings, atol=1e-5, rtol=1e-4)
    features, logits = both.predict(batch.images, batch.modalities)
    torch.testing.assert_close(F.normalize(features, dim=1), wide)
    assert logits.shape == (8, 4)


def test_what_is_off_is_not_there_and_every_weight_that_is_learns():
    lean = method_of(purifier=False, discriminator_weight=0.0, relation_weight=0.0, class_weight=0.0,
                     discrepancy_weight=0.0)  # fmt: skip
    assert set(lean.losses(batch_of())) == {"identity", "triplet"}
    assert not any(name.startswith(("purif", "confuser", "discriminator")) for name, _ in lean.named_parameters())
    for method in (lean, method_of(), method_of(setting="paper"), method_of(setting="official")):
        method.train()
        method.progress = 0.5
        torch.stack(list(method.losses(batch_of()).values())).sum().backward()
        assert not [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]


def test_a_few_steps_lower_the_loss():
    method, batch = method_of().train(), batch_of()
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-3)
    course = []
    for _ in range(15):
        terms = method.losses(batch)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        course.append(float(terms["identity"].detach()))
    assert course[-1] < 0.7 * course[0]


def test_one_stream_and_an_idle_purifier_are_refused():
    with pytest.raises(ValueError, match="two streams"):
        method_of(stages={"split": None})
    with pytest.raises(ValueError, match="purifier_weight"):
        ImplicitKnowledgeOptions(backbone=TINY, purifier_weight=0.0)


def test_the_streams_of_a_transformer_part_after_half_of_its_blocks_unless_told_otherwise():
    def split(name, **stages):
        given = {"stages": stages} if stages else {}
        return ImplicitKnowledgeOptions(backbone={"name": name}, **given).stages.split

    assert [split(name) for name in ("vit_tiny_patch16_224", "test_vit", "resnet18", "convnext_atto")] == [6, 3, 2, 2]
    assert split("test_vit", stems=1) == 3
    assert split("test_vit", split=5) == 5
