"""What the three objectives on the three-branch network have in common, for any choice of branches."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from crossreid.data.batch import Batch
from crossreid.methods import METHODS, build_method
from crossreid.methods.three_branch import ThreeBranch, ThreeBranchOptions

NAMES = tuple(name for name, method in METHODS.items() if issubclass(method.options, ThreeBranchOptions))
BRANCHES = {"all": ("infrared", "visible", "shared"), "specific": ("infrared", "visible"), "shared": ("shared",)}
SETTINGS = ("crossreid", "paper", "official")


def method_of(name, *, seed=0, **given):
    """A method in evaluation mode (frozen batch statistics), with classifiers far from uniform."""
    torch.manual_seed(seed)
    small = {"backbone": {"name": "test_resnet", "weights": "none"}, "bottleneck": {"hidden": (16, 12), "width": 8}}
    method = build_method(METHODS[name].options(**{**small, **given}), 5).eval()
    for key, parameter in method.named_parameters():
        if "classifier" in key and parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.3)
    return method


def batch_of(identities=3, images=4, *, seed=1, size=(32, 16)):
    """P identities, K images each, the first half of them visible."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(identities).repeat_interleave(images)
    modalities = (torch.arange(images) >= images // 2).long().repeat(identities)
    pixels = torch.randn(len(labels), 3, *size, generator=generator)
    return Batch(pixels, labels, modalities, torch.zeros_like(labels))


def total(method, batch):
    torch.manual_seed(7)
    return torch.stack(list(method.losses(batch).values())).sum()


def test_there_are_three_of_them():
    assert set(NAMES) == {"variational_distillation", "information_bottleneck", "variational_information_bottleneck"}
    assert all(issubclass(METHODS[name].owner, ThreeBranch) for name in NAMES)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("name", NAMES)
def test_every_learnable_parameter_of_the_chosen_branches_learns(name, branches, setting):
    method, batch = method_of(name, branches=branches, setting=setting).train(), batch_of()
    total(method, batch).backward()
    for key, parameter in method.named_parameters():
        assert parameter.grad is not None or not parameter.requires_grad, key
    assert set(method.branches) == set(BRANCHES[branches])
    assert len(method.encoders) == len(BRANCHES[branches])


@pytest.mark.parametrize("name", NAMES)
def test_only_the_objective_differs(name):
    """Where no bottleneck is random, L_ReID of the same weights is the same by all three methods."""
    batch, one = batch_of(), method_of("variational_distillation")
    other = method_of(name)
    own = {key: tensor for key, tensor in other.state_dict().items() if "bottleneck.layers" not in key}
    other.load_state_dict({key: one.state_dict().get(key, tensor) for key, tensor in own.items()}, strict=False)
    if name == "variational_information_bottleneck":  # make its mean that of the plain bottleneck, without noise
        for branch in BRANCHES["all"]:
            plain, layers = getattr(one, branch).bottleneck, getattr(other, branch).bottleneck.layers
            for a, b in list(zip(plain, layers, strict=True))[:-1]:
                b.load_state_dict(a.state_dict())
            with torch.no_grad():
                layers[-1].weight[:8], layers[-1].bias[:8] = plain[-1].weight, plain[-1].bias
                layers[-1].weight[8:], layers[-1].bias[8:] = 0, -30
    expected = one.losses(batch)
    found = other.losses(batch)
    for term in ("identity", "ranking", "mutual"):
        torch.testing.assert_close(found[term], expected[term], rtol=1e-4, atol=1e-4)
    assert set(found) - set(expected) == (set() if name == "variational_distillation" else {"bottleneck"})


@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("name", NAMES)
def test_terms_are_those_of_the_chosen_branches(name, branches):
    terms = set(method_of(name, branches=branches).losses(batch_of()))
    expected = {"identity", "ranking"} | ({"mutual"} if branches != "shared" else set())
    if name == "variational_distillation":
        expected |= {"vsd"} if branches != "shared" else set()
        expected |= {"vcd", "vml"} if branches != "specific" else set()
    else:
        expected |= {"bottleneck"}
    assert terms == expected


@pytest.mark.parametrize("branches", ["specific", "shared"])
def test_branches_alone_lose_what_they_lose_together(branches):
    """Each term of the modality-specific branches and of the shared one adds up to that of all three."""
    batch, whole = batch_of(), method_of("variational_distillation")
    part = method_of("variational_distillation", branches=branches)
    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in part.state_dict()})
    alone, together = part.losses(batch), whole.losses(batch)
    for term in set(alone) & {"mutual", "vsd", "vcd", "vml"}:
        torch.testing.assert_close(alone[term], together[term])
    rest = method_of("variational_distillation", branches="shared" if branches == "specific" else "specific")
    rest.load_state_dict({key: value for key, value in whole.state_dict().items() if key in rest.state_dict()})
    for term in ("identity", "ranking"):
        torch.testing.assert_close(alone[term] + rest.losses(batch)[term], together[term])


@pytest.mark.parametrize("features", ["observation", "representation", "both"])
@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_embeddings_have_length_one_whatever_the_batch(name, branches, features):
    method, batch = method_of(name, branches=branches, test_features=features), batch_of()
    embeddings = method.embed(batch.images, batch.modalities)
    streams = 2 if branches == "all" else 1
    each = {"observation": 96, "representation": 8, "both": 104}[features]
    assert embeddings.shape == (12, streams * each)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(12))
    for rows in ([0], [3], (batch.modalities == 1).nonzero().flatten()):
        part = method.embed(batch.images[rows], batch.modalities[rows])
        torch.testing.assert_close(part, embeddings[rows], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_what_is_minimised(name):
    method, batch = method_of(name).train(), batch_of()
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-3)
    course = []
    for _ in range(12):
        loss = torch.stack(list(method.losses(batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.append(loss.item())
    assert np.mean(course[-3:]) < course[0] - 0.5


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_near_full_precision(name):
    method, batch = method_of(name), batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = total(method, batch)
    assert reduced.dtype == torch.float32
    assert math.isclose(reduced.item(), total(method, batch).item(), rel_tol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_that_gather_see_the_loss_of_the_whole_batch(name):
    given = {"weight": 0.1} if name == "information_bottleneck" else {}
    method, batch = method_of(name, **given), batch_of(identities=4)
    if name == "variational_information_bottleneck":
        for branch in method.branches.values():  # no noise: each process draws its own
            nn.init.constant_(branch.bottleneck.layers[-1].bias[8:], -30)
    found = as_two_processes(method, batch)
    for term, value in method.losses(batch).items():
        torch.testing.assert_close(found[term], value, atol=1e-3, rtol=1e-3)


def as_two_processes(method, batch):
    """The losses of the first of two processes that hold half of the batch each and gather what the other has."""
    outputs = []
    half = len(batch.labels) // 2
    for rows in (slice(0, half), slice(half, None)):
        sent = []

        def gather(tensor, sent=sent):
            sent.append(tensor)
            return tensor

        method.gather = gather
        method.losses(Batch(*(None if part is None else part[rows] for part in batch)))
        outputs.append(sent)
    together = iter([torch.cat(pair) for pair in zip(*outputs, strict=True)])
    method.gather = lambda _: next(together)
    found = method.losses(Batch(*(None if part is None else part[:half] for part in batch)))
    method.gather = lambda tensor: tensor
    return found


@pytest.mark.parametrize("name", NAMES)
def test_two_streams_take_the_encoders_place(name):
    """The specific stream feeds the branch of an image's modality, the shared stream the shared branch."""
    method, batch = method_of(name, stages={"split": 2}, test_features="observation"), batch_of()
    (network,) = method.encoders
    with torch.no_grad():
        maps = network(batch.images, batch.modalities)
        seen = {stream: v for stream, (v, _) in method.observe(batch.images, batch.modalities).items()}
        scale = (1 + method.shared.encoder.neck.eps) ** -0.5  # running statistics are 0 and 1
        torch.testing.assert_close(seen["shared"], scale * maps[0].mean((2, 3)))
        torch.testing.assert_close(seen["specific"], scale * maps[1].mean((2, 3)))
    method.train()
    total(method, batch).backward()
    assert not [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None]


def test_two_streams_with_routing_to_all_or_without_a_split_are_refused():
    for given in ({"stages": {"split": 2}, "setting": "official"}, {"stages": {"stems": 1}},
                  {"stages": {"split": 2}, "branches": "shared"}):  # fmt: skip
        with pytest.raises(ValueError, match=r"two streams need stages\.split"):
            method_of("variational_distillation", **given)
