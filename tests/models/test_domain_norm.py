"""Batch norm by domain against torch's own of each domain's rows, in networks and across what picks rows."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.methods import build_method
from crossreid.models.domain_norm import DomainNorm, batch_of, counted_as, put_domain_norm, settle
from small_model import recipe_of

DOMAINS = torch.tensor([0, 2, 0, 2, 2, 0])
NETWORK = {"name": "test_resnet", "weights": "none", "domain_norm": "all", "domains": ["a", "b", "c"]}


def layer(kind=nn.BatchNorm2d):
    torch.manual_seed(0)
    norm = kind(4)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


def images(seed=1):
    return torch.randn(6, 4, 3, 2, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.mark.parametrize("kind", ["statistics", "all"])
def test_each_domain_is_normalised_and_remembered_as_by_a_batch_norm_of_its_own(kind):
    start = layer()
    own = DomainNorm(start, 3, affine=kind == "all").train()
    each = [layer().train() for _ in range(3)]
    given, other = images().requires_grad_(), images().requires_grad_()
    with batch_of(DOMAINS):
        found = own(given)
    wanted = torch.empty_like(found)
    for domain in (0, 2):
        wanted[domain == DOMAINS] = each[domain](other[domain == DOMAINS])
    torch.testing.assert_close(found, wanted)
    for part in (found, wanted):
        (part * torch.arange(144.0).view_as(part)).sum().backward()
    torch.testing.assert_close(given.grad, other.grad, rtol=1e-4, atol=1e-4)
    for domain, norm in enumerate(each):
        torch.testing.assert_close(own.running_mean[domain], norm.running_mean)
        torch.testing.assert_close(own.running_var[domain], norm.running_var)
    grads = [norm.weight.grad if norm.weight.grad is not None else torch.zeros(4) for norm in each]
    expected = torch.stack(grads) if kind == "all" else sum(grads)[None]
    torch.testing.assert_close(own.weight.grad, expected, rtol=1e-4, atol=1e-4)
    with batch_of(DOMAINS):
        found = own.eval()(images(2))
    for domain in (0, 2):
        torch.testing.assert_close(found[domain == DOMAINS], each[domain].eval()(images(2)[domain == DOMAINS]))


def test_an_image_of_no_known_domain_is_of_the_mean_or_of_the_one_named():
    own = DomainNorm(layer(), 3, affine=True).eval()
    with torch.no_grad():
        for part in (own.running_mean, own.running_var, own.weight, own.bias):
            part += torch.rand(3, 1, generator=torch.Generator().manual_seed(3))
    mean = nn.functional.batch_norm(
        images(), own.running_mean.mean(0), own.running_var.mean(0), own.weight.mean(0), own.bias.mean(0)
    )
    torch.testing.assert_close(own(images()), mean)
    with counted_as(own, 1):
        named = own(images())
        with batch_of(torch.ones(6, dtype=torch.long)):
            torch.testing.assert_close(named, own(images()))
    torch.testing.assert_close(own(images()), mean)
    assert not torch.allclose(named, mean)


def test_what_is_served_is_an_ordinary_network_that_gives_the_same():
    norm = layer(BatchNormAct2d)
    network = nn.Sequential(nn.Conv2d(4, 4, 1), norm).eval()
    before = network(images())
    assert put_domain_norm(network, 2, "all") == 1
    torch.testing.assert_close(network(images()), before)
    assert network(images()).min() == 0  # its activation stayed
    with torch.no_grad():
        network[1].running_mean[0] += 1
    swapped = network(images())
    assert settle(network) == 1
    assert not any(isinstance(module, DomainNorm) for module in network.modules())
    torch.testing.assert_close(network(images()), swapped)
    assert not torch.allclose(swapped, before)


def batch(sets=1):
    generator = torch.Generator().manual_seed(0)
    shape = (8,) if sets == 1 else (8, sets)
    modalities = (torch.arange(8) % 2).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    pixels = torch.randn(*shape, 3, 48, 32, generator=generator)
    return Batch(pixels, torch.arange(8) // 4, modalities, modalities, torch.tensor([0, 0, 2, 2] * 2))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("baseline", {}),
        ("agw", {}),
        ("implicit_knowledge", {}),
        ("variational_distillation", {}),
        ("variational_distillation", {"setting": "official"}),
        ("view_distillation", {}),
        ("view_distillation of agw", {}),
    ],
)
def test_every_method_learns_with_norms_by_domain_and_leaves_absent_domains_alone(name, options):
    of_sets = name.startswith("view_distillation")
    network = {**NETWORK, "last_activation": False} if of_sets else NETWORK
    chosen = recipe_of(name.split()[0], network=network, **options).method
    if "of agw" in name:  # which picks rows by modality inside a network of sets
        chosen = chosen.model_copy(update={"network": recipe_of("agw", network=NETWORK).method.model_dump()})
    method = build_method(chosen, 2).train()
    norms = [module for module in method.modules() if isinstance(module, DomainNorm)]
    before = [norm.running_mean.clone() for norm in norms]
    with batch_of(batch().domains):
        terms = method.losses(batch(3 if of_sets else 1))
    torch.stack(list(terms.values())).sum().backward()
    moved = [(norm.running_mean != was).any(1).tolist() for norm, was in zip(norms, before, strict=True)]
    assert {tuple(one) for one in moved} <= {
        (True, False, True),
        (False, False, False),
    }  # an attention map's may stay 0
    assert moved.count([True, False, True]) > len(norms) // 2
    assert method.eval().embed(batch().images, batch().modalities).isfinite().all()


def test_what_nobody_can_know_is_refused():
    method = build_method(recipe_of(network=NETWORK).method, 2).train()
    with pytest.raises(CrossreidError, match="does not say which its images are of"):
        method.losses(batch())
    with batch_of(torch.zeros(7, dtype=torch.long)), pytest.raises(CrossreidError, match="8 images of a batch of 7"):
        method.losses(batch())
    lacking = {key: value for key, value in NETWORK.items() if key != "domains"}
    with pytest.raises(CrossreidError, match="there is one data set"):
        build_method(recipe_of(network=lacking).method, 2)
    with pytest.raises(CrossreidError, match="has no batch norm"):
        build_method(recipe_of(network={**NETWORK, "name": "test_vit", "last_stride_one": False}).method, 2)
