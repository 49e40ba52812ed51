"""Variational distillation: every term recomputed image by image from the three branches, for the three settings."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from test_three_branch import as_two_processes, batch_of
from test_three_branch import method_of as three_branch_method
from torch import nn

from crossreid.data.batch import Batch
from crossreid.methods import METHODS, build_method
from crossreid.methods.variational_distillation import (
    SETTINGS,
    VariationalDistillation,
    VariationalDistillationOptions,
)
from crossreid.models.backbone_options import BackboneOptions
from few_steps import losses_of_steps

BACKBONE = {"name": "test_resnet", "weights": "none"}
WIDTH, CLASSES = 96, 5
SMALL = {"hidden": (16, 12), "width": 8}


def options_of(setting, **given):
    return VariationalDistillationOptions(
        setting=setting, **{"backbone": dict(BACKBONE), "bottleneck": dict(SMALL), **given}
    )


def method_of(setting, **given):
    return three_branch_method("variational_distillation", setting=setting, **given)


def grey_of(image):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    luma = sum(w * (image[0, c] * std[c] + mean[c]) for c, w in enumerate((0.299, 0.587, 0.114)))
    return torch.stack([(luma - mean[c]) / std[c] for c in range(3)])[None]


def released_grey_of(image):
    return sum(w * image[:, c : c + 1] for c, w in enumerate((0.2989, 0.5870, 0.1140))).repeat(1, 3, 1, 1)


def softmax(row):
    exponents = [math.exp(x - max(row)) for x in row]
    return [e / sum(exponents) for e in exponents]


@torch.no_grad()
def through(branch, image):
    v = branch.encoder(image)
    z = branch.bottleneck(v)
    logits = branch.v_classifier(v), branch.z_classifier(z)
    return {
        "v": v[0].tolist(),
        "z": z[0].tolist(),
        "pv": softmax(logits[0][0].tolist()),
        "pz": softmax(logits[1][0].tolist()),
    }


def streams_by_hand(method, batch):
    """(weight, one dict an image) of every stream, one image at a time."""
    images = [image[None] for image in batch.images]
    if method.options.routing == "modality":
        own = [method.infrared if kind == 1 else method.visible for kind in batch.modalities.tolist()]
        return {
            "specific": (1.0, [through(branch, image) for branch, image in zip(own, images, strict=True)]),
            "shared": (0.5, [through(method.shared, image) for image in images]),
        }
    grey_of_one = grey_of if method.options.grey == "image" else released_grey_of
    return {
        "infrared": (0.5, [through(method.infrared, grey_of_one(image)) for image in images]),
        "visible": (0.5, [through(method.visible, image) for image in images]),
        "shared_grey": (0.25, [through(method.shared, grey_of_one(image)) for image in images]),
        "shared": (0.25, [through(method.shared, image) for image in images]),
    }


def cross_entropy(p, label, smoothing):
    target = [(1 - smoothing) * (c == label) + smoothing / len(p) for c in range(len(p))]
    return -sum(t * math.log(x) for t, x in zip(target, p, strict=True))


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def js(p, q):
    mean = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(p, mean) + kl(q, mean)) / 2


def released(p, q):
    return sum(b * (math.log(b) - a) for a, b in zip(p, q, strict=True)) / len(p)


def ranked(rows, labels, modalities, form):
    rows = [np.array(row) / np.linalg.norm(row) for row in rows]
    total = 0.0
    for same, boundary, margin in ((True, 2.2, 0.9), (False, 2.0, 1.0)):
        for i, a in enumerate(rows):
            pull, push, weight = [], [], []
            for j, b in enumerate(rows):
                if i == j or (modalities[i] == modalities[j]) != same:
                    continue
                d = float(np.linalg.norm(a - b))
                if labels[i] == labels[j]:
                    violates = d > boundary - margin
                    pull += [max(d - boundary + margin, 0)] if violates or form == "release" else []
                elif d < boundary:
                    push.append(boundary - d)
                    weight.append(math.exp(boundary - d))
            total += (np.mean(pull) if pull else 0) + (np.average(push, weights=weight) if push else 0)
    return total / len(rows)


def transported(a, b, eps=0.01):
    """The release's loop: potentials u, v of a uniform coupling, at most 100 rounds, stop at 0.1, a floor in the logarithm."""
    a, b = np.array(a), np.array(b)
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    u, v = np.zeros(len(a)), np.zeros(len(b))

    def lse(values, axis):
        top = values.max(axis, keepdims=True)
        return (np.log(np.exp(values - top).sum(axis, keepdims=True) + 1e-6 * np.exp(-top)) + top).squeeze(axis)

    for _ in range(100):
        old = u.copy()
        u = u + eps * (math.log(1 / len(a)) - lse((u[:, None] + v[None] - cost) / eps, 1))
        v = v + eps * (math.log(1 / len(b)) - lse((u[:, None] + v[None] - cost) / eps, 0))
        if np.abs(u - old).sum() < 0.1:
            break
    return float((np.exp((u[:, None] + v[None] - cost) / eps) * cost).sum())


def terms_by_hand(method, batch):
    streams = streams_by_hand(method, batch)
    labels, modalities = batch.labels.tolist(), batch.modalities.tolist()
    n = len(labels)
    options = method.options
    terms = {
        "identity": sum(
            weight * np.mean([cross_entropy(row[head], label, 0.1) for row, label in zip(rows, labels, strict=True)])
            for weight, rows in streams.values()
            for head in ("pv", "pz")
        ),
        "ranking": sum(
            weight * ranked([row[part] for row in rows], labels, modalities, options.ranking)
            for weight, rows in streams.values()
            for part in ("v", "z")
        ),
    }
    rows = {name: stream[1] for name, stream in streams.items()}
    if options.routing == "modality":
        pairs = [
            (i, j)
            for i in range(n)
            for j in range(n)
            if labels[i] == labels[j] and modalities[i] == 0 and modalities[j] == 1
        ]
        s, c = rows["specific"], rows["shared"]
        heads = ("pv", "pz") if options.mutual_of == "both" else ("pv",)
        mutual = np.mean([kl(s[j][h], s[i][h]) + kl(s[i][h], s[j][h]) for i, j in pairs for h in heads])
        vsd = sum(np.mean([kl(s[i]["pv"], s[i]["pz"]) for i in range(n) if modalities[i] == kind]) for kind in (0, 1))
        vcd = np.mean([kl(c[j]["pv"], c[i]["pz"]) + kl(c[i]["pv"], c[j]["pz"]) for i, j in pairs])
        terms["vml"] = options.consistency_weight * np.mean([js(c[i]["pz"], c[j]["pz"]) for i, j in pairs])
    else:
        infrared, visible, grey, shared = rows.values()
        mutual = transported([r["pv"] for r in infrared], [r["pv"] for r in visible])
        vsd = sum(np.mean([released(r["pv"], r["pz"]) for r in stream]) for stream in (infrared, visible))
        vcd = np.mean(
            [released(b["pv"], a["pz"]) + released(a["pv"], b["pz"]) for a, b in zip(grey, shared, strict=True)]
        )
        vcd = vcd / 2
    weighed = {
        "mutual": options.mutual_weight * mutual,
        "vsd": options.self_weight * vsd,
        "vcd": options.cross_weight * vcd,
    }
    return {**terms, **weighed}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_term_is_what_a_loop_over_images_gives(setting):
    method, batch = method_of(setting), batch_of()
    found = {name: term.item() for name, term in method.losses(batch).items()}
    expected = terms_by_hand(method, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-3, abs=5e-6), name


def test_published_weights_stand_where_published_settings_are_named():
    weights = (
        "identity_weight",
        "ranking_weight",
        "mutual_weight",
        "self_weight",
        "cross_weight",
        "consistency_weight",
    )
    for setting in ("paper", "official"):
        assert [getattr(options_of(setting), name) for name in weights] == [1, 1, 8, 2, 2, 2]


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_has_its_terms(setting):
    common = ["identity", "ranking", "mutual", "vsd", "vcd"]
    terms = method_of(setting).losses(batch_of())
    assert list(terms) == (common if setting == "official" else [*common, "vml"])
    assert all(term.shape == () and torch.isfinite(term) for term in terms.values())
    assert method_of(setting).options.mutual_weight == 8.0


def test_paper_is_built_as_the_paper_says():
    method = VariationalDistillation(options_of("paper", bottleneck={}), CLASSES)
    for branch in (method.infrared, method.visible, method.shared):
        assert [layer.out_features for layer in branch.bottleneck if isinstance(layer, nn.Linear)] == [1024, 512, 256]
        assert not any(isinstance(layer, nn.BatchNorm1d | nn.Dropout) for layer in branch.bottleneck)
        assert isinstance(branch.z_classifier, nn.Linear)
        assert branch.z_classifier.bias is not None
    assert method.options.routing == "modality"
    assert not method.options.backbone.stage_attention


@torch.no_grad()
def test_official_is_built_as_the_release():
    torch.manual_seed(0)
    method = VariationalDistillation(options_of("official", bottleneck={}), 395).eval()
    batch = batch_of()
    streams = method.observe(batch.images, batch.modalities)
    assert list(streams) == ["infrared", "visible", "shared_grey", "shared"]
    assert all(v.shape == (12, WIDTH) and z.shape == (12, 512) for v, z in streams.values())
    for branch in (method.infrared, method.visible, method.shared):
        assert [layer.out_features for layer in branch.bottleneck if isinstance(layer, nn.Linear)] == [1000, 500, 512]
        assert [type(layer) for layer in list(branch.bottleneck)[:3]] == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
        kinds = [type(layer) for layer in branch.z_classifier]
        assert nn.LeakyReLU in kinds
        assert nn.Dropout in kinds
    assert method.embed(batch.images, batch.modalities).shape == (12, 4 * WIDTH)
    # At random weights the release prints VSD -0.030 and VCD -0.015 before their weight of 2.
    terms = method.losses(batch)
    assert round(terms["vsd"].item() / 2, 3) == -0.030
    assert round(terms["vcd"].item() / 2, 3) == -0.015


@pytest.mark.parametrize("setting", SETTINGS)
def test_order_of_the_batch_is_irrelevant(setting):
    method, batch = method_of(setting), batch_of()
    order = torch.randperm(len(batch.labels), generator=torch.Generator().manual_seed(3))
    shuffled = Batch(*(None if part is None else part[order] for part in batch))
    for name, term in method.losses(batch).items():
        torch.testing.assert_close(method.losses(shuffled)[name], term, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_routed_by_modality_an_image_never_touches_the_other_branch():
    method, batch = method_of("crossreid"), batch_of()
    before = method.embed(batch.images, batch.modalities)
    for parameter in method.visible.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    after = method.embed(batch.images, batch.modalities)
    infrared = batch.modalities == 1
    assert torch.equal(before[infrared], after[infrared])
    assert ((before[~infrared] - after[~infrared]).abs().amax(1) > 1e-4).all()


@torch.no_grad()
def test_routed_to_all_branches_the_modality_is_not_looked_at():
    method, batch = method_of("official"), batch_of()
    embeddings = method.embed(batch.images, batch.modalities)
    assert torch.equal(embeddings, method.embed(batch.images, 1 - batch.modalities))


def gradients(method, term):
    method.zero_grad(set_to_none=True)
    term.backward()
    return {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("stop", [True, False])
def test_vsd_moves_the_prediction_of_v_only_where_its_gradient_is_not_stopped(stop):
    method, batch = method_of("paper", stop_gradient=stop), batch_of()
    reached = gradients(method, method.losses(batch)["vsd"])
    for branch in ("infrared", "visible"):
        assert (f"{branch}.v_classifier.weight" in reached) is not stop
        assert f"{branch}.z_classifier.weight" in reached
        assert f"{branch}.bottleneck.0.weight" in reached
    assert not any(name.startswith("shared.") for name in reached)


def test_with_the_gradient_stopped_vsd_reaches_the_encoder_through_z_alone():
    method, batch = method_of("paper", stop_gradient=True), batch_of()
    found = gradients(method, method.losses(batch)["vsd"])
    total = torch.zeros(())
    for branch, kind in ((method.infrared, 1), (method.visible, 0)):
        v = branch.encoder(batch.images[batch.modalities == kind])
        with torch.no_grad():
            target = branch.v_classifier(v).softmax(1)
        log_q = branch.z_classifier(branch.bottleneck(v)).log_softmax(1)
        total = total + 2 * (target * (target.log() - log_q)).sum(1).mean()
    expected = gradients(method, total)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("stop", [True, False])
def test_vcd_acts_on_the_shared_branch_alone(stop):
    method, batch = method_of("paper", stop_gradient=stop), batch_of()
    reached = gradients(method, method.losses(batch)["vcd"])
    assert all(name.startswith("shared.") for name in reached)
    assert ("shared.v_classifier.weight" in reached) is not stop


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_learnable_parameter_learns(setting):
    method, batch = method_of(setting), batch_of()
    method.train()
    reached = gradients(method, torch.stack(list(method.losses(batch).values())).sum())
    assert {name for name, p in method.named_parameters() if p.requires_grad} == reached.keys()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("features", ["observation", "representation", "both"])
@torch.no_grad()
def test_embeddings_have_length_one_for_any_batch(setting, features):
    method, batch = method_of(setting, test_features=features), batch_of()
    z = SMALL["width"] * (2 if setting == "official" else 1)
    each = {"observation": WIDTH, "representation": z, "both": WIDTH + z}[features]
    embeddings = method.embed(batch.images, batch.modalities)
    assert embeddings.shape == (12, each * (4 if setting == "official" else 2))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(12))
    assert torch.equal(embeddings, method.embed(batch.images, batch.modalities))
    for rows in ([0], [3], (batch.modalities == 1).nonzero().flatten()):
        part = method.embed(batch.images[rows], batch.modalities[rows])
        torch.testing.assert_close(part, embeddings[rows], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_both_test_features_weigh_v_and_z_alike():
    batch = batch_of()
    parts = {
        kind: method_of("paper", test_features=kind).embed(batch.images, batch.modalities)
        for kind in ("observation", "representation", "both")
    }
    joined = torch.cat([parts["observation"], parts["representation"]], dim=1) / math.sqrt(2)
    torch.testing.assert_close(parts["both"], joined)


@pytest.mark.parametrize("setting", ["crossreid", "official"])
def test_two_processes_that_gather_see_the_loss_of_the_whole_batch(setting):
    method, batch = method_of(setting), batch_of(identities=4)
    found = as_two_processes(method, batch)
    for name, term in method.losses(batch).items():
        torch.testing.assert_close(found[name], term, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_few_steps_lower_the_loss(setting):
    method, batch = method_of(setting), batch_of()
    method.train()
    course = losses_of_steps(method, batch)
    assert np.mean(course[-3:]) < course[0] - 0.5


def test_bf16_losses_are_near_those_of_full_precision():
    method, batch = method_of("paper"), batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = method.losses(batch)
    for name, term in method.losses(batch).items():
        assert reduced[name].dtype == torch.float32
        assert reduced[name].item() == pytest.approx(term.item(), rel=0.1, abs=0.05), name


def test_a_batch_without_pairs_across_is_refused():
    batch = batch_of()
    with pytest.raises(ValueError, match="no identity in both modalities"):
        method_of("paper").losses(batch._replace(modalities=torch.zeros_like(batch.modalities)))


def test_one_image_of_a_modality_is_refused_in_training():
    batch = batch_of()
    modalities = torch.zeros_like(batch.modalities)
    modalities[0] = 1
    with pytest.raises(ValueError, match="batch norm needs two"):
        method_of("paper").train().losses(batch._replace(modalities=modalities))


def test_a_given_key_overrides_its_settings_value():
    options = options_of("official", mutual_weight=0.5, stop_gradient=False)
    assert options.mutual_weight == 0.5
    assert not options.stop_gradient
    assert options.mutual == "sinkhorn"


@pytest.mark.parametrize("as_model", [False, True])
def test_a_given_section_keeps_the_settings_other_keys(as_model):
    backbone = BackboneOptions(**BACKBONE) if as_model else BACKBONE
    options = VariationalDistillationOptions(setting="official", backbone=backbone, bottleneck={"width": 128})
    assert options.backbone.name == "test_resnet"
    assert options.backbone.stage_attention
    assert options.bottleneck.hidden == (1000, 500)
    assert options.bottleneck.out == 256


def test_an_unnamed_setting_is_crossreids():
    assert VariationalDistillationOptions() == VariationalDistillationOptions(setting="crossreid")
    assert VariationalDistillationOptions().bottleneck.batch_norm


@pytest.mark.parametrize("key", ["self_weight", "cross_weight", "consistency_weight", "mutual_weight", "test_features"])
def test_the_own_setting_weighs_and_tests_as_the_paper(key):
    own, paper = (getattr(VariationalDistillationOptions(setting=name), key) for name in ("crossreid", "paper"))
    assert own == paper


@pytest.mark.parametrize("setting", SETTINGS)
def test_options_written_out_are_the_same_options(setting):
    options = options_of(setting, mutual_weight=3.0)
    assert VariationalDistillationOptions(**options.model_dump(mode="json")) == options


@pytest.mark.parametrize(
    "wrong",
    [
        {"setting": "papper"},
        {"setting": ["paper"]},
        {"ranking_same": (0.9, 2.2)},
        {"ranking_across": (1.0, 0.0)},
        {"label_smoothing": 1.0},
        {"temperature": 0},
        {"mutual_weight": -1},
        {"alpha": 1},
        {"backbone": 3},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        VariationalDistillationOptions(**wrong)


def test_the_table_builds_it():
    method = build_method(options_of("paper"), CLASSES)
    assert type(method) is METHODS["variational_distillation"].owner
    assert len(method.encoders) == 3
    with pytest.raises(ValueError, match="at least 2 training identities, found 1"):
        build_method(options_of("paper"), 1)
