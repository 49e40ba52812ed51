"""Batches of drawn features for the losses of pairs and centres, and the checks that any such loss passes."""

import torch
from hypothesis import strategies as st


@st.composite
def batches(draw, least=1, dtype=torch.float64):
    """Features `(B, D)`, labels and modalities `(B,)` of any composition."""
    size = draw(st.integers(least, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    features = torch.randn(size, draw(st.integers(2, 5)), generator=generator, dtype=dtype)
    labels = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    modalities = torch.tensor(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    return features, labels, modalities


def full_batch(size=8, width=6, dtype=torch.float64, seed=3):
    """Every identity twice in either modality."""
    features = torch.randn(size, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return features, torch.arange(size) // 4, torch.arange(size) % 2


def falls_by_its_gradient(loss, features, steps=200, lr=0.05):
    """The loss before and after steps of a real optimiser on the features."""
    features = features.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([features], lr=lr)
    course = []
    for _ in range(steps):
        value = loss(features)
        optimiser.zero_grad()
        value.backward()
        assert features.grad.isfinite().all()
        optimiser.step()
        course.append(value.item())
    return course[0], course[-1]
