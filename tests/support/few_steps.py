"""A few steps of a real optimiser on one batch, for tests that a method learns."""

import torch


def losses_of_steps(method, batch, steps=12):
    """The sum of the method's losses before each step."""
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-3)
    course = []
    for _ in range(steps):
        total = torch.stack(list(method.losses(batch).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        course.append(total.item())
    return course
