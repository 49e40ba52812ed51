"""Critics against the plain MLP that they are."""

import torch
from torch import nn

from crossreid.models.critic import Critic


def test_a_critic_is_an_mlp_of_both_inputs_side_by_side():
    torch.manual_seed(0)
    critic = Critic(3, 2, hidden=5, limit=20)
    plain = nn.Linear(5, 5)
    plain.weight.data = torch.cat([critic.of_v.weight, critic.of_z.weight], dim=1).data
    plain.bias.data = critic.of_v.bias.data
    v, z = torch.randn(4, 3), torch.randn(6, 2)
    scores = critic(v, z)
    assert scores.shape == (4, 6)
    for i in range(4):
        for j in range(6):
            raw = critic.rest(plain(torch.cat([v[i], z[j]])))
            torch.testing.assert_close(scores[i, j], 20 * torch.tanh(raw / 20).squeeze())


def test_scores_stay_within_the_limit():
    torch.manual_seed(0)
    critic = Critic(3, 3, limit=7)
    scores = critic(1e6 * torch.randn(5, 3), torch.randn(5, 3))
    assert scores.abs().max() <= 7
    small = 1e-3 * torch.randn(5, 3), 1e-3 * torch.randn(5, 3)
    raw = critic.rest(critic.of_v(small[0])[:, None] + critic.of_z(small[1])[None]).squeeze(2)
    torch.testing.assert_close(critic(*small), raw, rtol=1e-2, atol=1e-4)
