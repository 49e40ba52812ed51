"""Losses that make one network match another: VSD, VCD, VML, mutual learning, and a teacher's knowledge and distances.

Source: Tian et al., "Farewell to Mutual Information: Variational Distillation for Cross-Modal Person
Re-Identification", CVPR 2021. All take logits `(N, C)`; all but `release_divergence` return a divergence in nats,
averaged over rows and summed over classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from crossreid.errors import CrossreidError

Reduction = Literal["pairs", "sum", "matrix"]


def kl_divergence(p_logits: Tensor, q_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """D_KL(P || Q), rows of `(N, C)` logits, averaged over rows; at least 0.

    VSD and VCD of Tian et al. are this, with P of v and Q of z.
    """
    log_p = F.log_softmax(p_logits.float() / temperature, dim=1)
    log_q = F.log_softmax(q_logits.float() / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def js_divergence(p_logits: Tensor, q_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """D_JS(P || Q), rows of `(N, C)` logits, averaged over rows; in [0, log 2].

    VML of Tian et al. is this, of z in two views.
    """
    log_p = F.log_softmax(p_logits.float() / temperature, dim=1)
    log_q = F.log_softmax(q_logits.float() / temperature, dim=1)
    log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
    to_mean = [F.kl_div(log_mean, side, reduction="batchmean", log_target=True) for side in (log_p, log_q)]
    return 0.5 * (to_mean[0] + to_mean[1])


def release_divergence(p_logits: Tensor, q_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """What the authors' release computes instead of D_KL(P || Q): the mean over rows and classes of q (log q - p).

    It uses probabilities where log-probabilities belong, and exchanges the roles. It is not a divergence: for
    uniform predictions over C classes it is -(log C + 1 / C) / C. Minimising it raises the entropy of Q and its inner
    product with P; it is lowest at Q = softmax(P), near uniform however certain P is. No gradient reaches P. Kept for
    the `official` setting only.
    """
    p = F.softmax(p_logits.detach().float() / temperature, dim=1)
    log_q = F.log_softmax(q_logits.float() / temperature, dim=1)
    return (log_q.exp() * (log_q - p)).mean()


def mutual_learning(a_logits: Tensor, b_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Deep mutual learning (Zhang et al., CVPR 2018, equation 7): each matches the other's prediction, held fixed."""
    return kl_divergence(b_logits.detach(), a_logits, temperature=temperature) + kl_divergence(
        a_logits.detach(), b_logits, temperature=temperature
    )


def distilled_knowledge(teacher_logits: Tensor, student_logits: Tensor, *, temperature: float = 10.0) -> Tensor:
    """L_KD = temperature^2 D_KL(softmax(teacher / temperature) || softmax(student / temperature)).

    Rows of `(N, C)` logits, averaged over rows. The square makes the gradient's size that of a cross-entropy at any
    temperature (Hinton et al., "Distilling the knowledge in a neural network", 2015). L_KD of Porrello et al., ECCV
    2020. No gradient reaches the teacher.
    """
    return temperature**2 * kl_divergence(teacher_logits.detach(), student_logits, temperature=temperature)


def distance_preservation(
    teacher: Tensor,
    student: Tensor,
    *,
    distance: Literal["squared", "euclidean", "cosine"] = "squared",
    over: Reduction = "pairs",
) -> Tensor:
    """L_DP: mean over pairs i < j of (D_T[i, j] - D_S[i, j])^2, D the distances within each set of embeddings.

    Source: Porrello et al., "Robust re-identification by multiple views knowledge distillation", ECCV 2020;
    `squared` Euclidean distances are what its release compares, `cosine` those of unit vectors.

    Args:
        teacher, student: `(N, D)`, `(N, E)`, the same samples in the same order; D and E may differ.
        over: `pairs`, their mean; `sum`, their sum, as the paper writes it; `matrix`, half the mean over all N x N
            entries with the zeros of the diagonal, as its release does: (N - 1) / 2N of the mean over pairs.

    Raises:
        CrossreidError: the numbers of rows differ, or there are fewer than two.
    """
    if len(teacher) != len(student) or len(teacher) < 2:
        raise CrossreidError(
            f"expected embeddings of the same samples, two or more; found {len(teacher)} of the teacher and "
            f"{len(student)} of the student."
        )
    with torch.autocast(teacher.device.type, enabled=False):
        pairs = []
        for embeddings in (teacher.detach().float(), student.float()):
            if distance == "cosine":
                embeddings = F.normalize(embeddings, dim=1)
            distances = F.pdist(embeddings)
            pairs.append(distances if distance == "euclidean" else distances.square())
        squares = (pairs[0] - pairs[1]).square()
        if over == "matrix":
            return squares.sum() / len(teacher) ** 2
        return squares.sum() if over == "sum" else squares.mean()
