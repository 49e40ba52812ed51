"""The theory of variational distillation, line by line, on random small distributions, as in Tian et al., CVPR 2021.

Where a line holds under conditions only, the test says which, and another shows what happens without them;
docs/variational_distillation.md has the derivations.
"""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from discrete_information import (
    Joint,
    entropy,
    entropy_difference_bound,
    information,
    js,
    kl,
    prediction,
    sufficiency_gap_bound,
)

CLOSE = {"abs": 1e-9}


def channel(generator, inputs, outputs, concentration):
    """p(output | input) `(inputs, outputs)`; nearly deterministic for a small concentration."""
    rows = generator.gamma(concentration, size=(inputs, outputs)) + 1e-9
    return rows / rows.sum(1, keepdims=True)


@st.composite
def chains(draw):
    """y -> x -> v -> z: an identity, its image, the observation and the representation."""
    sizes = [draw(st.integers(2, 4)) for _ in range(4)]
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    concentration = draw(st.sampled_from([0.05, 0.5, 3.0]))
    y, x, v, z = sizes
    table = np.einsum(
        "y,yx,xv,vz->xvzy",
        channel(generator, 1, y, 2.0)[0],
        channel(generator, y, x, concentration),
        channel(generator, x, v, concentration),
        channel(generator, v, z, concentration),
    )
    return Joint(table / table.sum(), ("x", "v", "z", "y"))


@st.composite
def views(draw, redundant):
    """Two observations of y and a representation of each: z1 - v1 - (v2, y), z2 - v2 - (v1, y).

    `redundant`: each view tells of y all that both do. Then v_k = (t, s, a_k) with y decided by t alone, s shared and
    superfluous, a_k seen by one view, each absent for some draws; z_k keeps a random part of v_k, or a noisy one.
    """
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    if not redundant:
        p = generator.gamma(0.5, size=(3, 3, 3)) + 1e-6
        v1v2y = p / p.sum()
        maps = [channel(generator, 3, draw(st.integers(2, 4)), draw(st.sampled_from([0.05, 1.0]))) for _ in range(2)]
    else:
        t, s, a = 2, draw(st.integers(1, 2)), draw(st.integers(1, 2))
        p_ts = channel(generator, 1, t * s, 3.0)[0]
        y_t = channel(generator, t, 3, draw(st.sampled_from([0.05, 1.0])))
        own = [channel(generator, t, a, 3.0) for _ in range(2)]  # a_k may lean on t, never on what else there is
        v1v2y = np.zeros((t * s * a, t * s * a, 3))
        for i, j, k, m in itertools.product(range(t), range(s), range(a), range(a)):
            one, two = (i * s + j) * a + k, (i * s + j) * a + m
            v1v2y[one, two] += p_ts[i * s + j] * own[0][i, k] * own[1][i, m] * y_t[i]
        maps = [_keeping(draw, generator, (t, s, a)) for _ in range(2)]
    return Joint(np.einsum("abc,ad,be->abdec", v1v2y, *maps), ("v1", "v2", "z1", "z2", "y"))


def _keeping(draw, generator, sizes):
    """z as the part of v = (t, s, a) that a random mask keeps, or as a random channel of v."""
    inputs = int(np.prod(sizes))
    if draw(st.booleans()) and draw(st.booleans()):
        return channel(generator, inputs, 3, 0.5)
    mask = [draw(st.sampled_from([True, True, False])), draw(st.booleans()), draw(st.booleans())]
    parts = list(itertools.product(*map(range, sizes)))
    kept = [tuple(p for p, keep in zip(part, mask, strict=True) if keep) for part in parts]
    codes = sorted(set(kept))
    return np.eye(len(codes))[[codes.index(code) for code in kept]]


def distilled(joint, teacher, student):
    """E D_KL( p(y|teacher) || p(y|student) ) over pairs as they come together."""
    p, q = prediction(joint, "y", teacher), prediction(joint, "y", student)
    weights = joint.marginal(f"{teacher} {student}")
    divergences = kl(p[:, None, :], q[None, :, :])
    return float((weights * np.where(weights > 0, divergences, 0)).sum())


# One view: sufficiency.


@given(chains())
def test_what_z_keeps_of_v_is_predictive_or_superfluous(joint):
    parts = information(joint, "z", "y") + information(joint, "v", "z", given="y")
    assert information(joint, "v", "z") == pytest.approx(parts, **CLOSE)


@given(chains())
def test_processing_adds_no_information(joint):
    assert information(joint, "z", "y") <= information(joint, "v", "y") + 1e-9
    assert information(joint, "v", "y") <= information(joint, "x", "y") + 1e-9
    assert information(joint, "x", "z") <= min(information(joint, "x", "v"), information(joint, "v", "z")) + 1e-9


@given(chains())
def test_theorem_1_the_gap_in_information_is_the_gap_in_uncertainty(joint):
    gap = information(joint, "v", "y") - information(joint, "z", "y")
    assert gap == pytest.approx(entropy(joint, "y", given="z") - entropy(joint, "y", given="v"), **CLOSE)


@given(chains())
def test_lemma_1_is_an_equality_vsd_is_the_gap(joint):
    """Stronger than published: with the true posteriors E D_KL(P_v || P_z) is I(v;y) - I(z;y), zero or not."""
    gap = entropy(joint, "y", given="z") - entropy(joint, "y", given="v")
    assert distilled(joint, "v", "z") == pytest.approx(gap, **CLOSE)


@given(chains(), st.integers(0, 2**31), st.sampled_from([0.0, 0.05, 0.5]), st.sampled_from([0.01, 0.3]))
def test_lemma_1_when_predictions_are_learned_and_the_divergence_is_not_zero(joint, seed, error, noise):
    generator = np.random.default_rng(seed)

    def disturbed(table, scale):
        table = (table + 1e-6) * np.exp(scale * generator.normal(size=table.shape))
        return table / table.sum(-1, keepdims=True)

    truth = prediction(joint, "y", "v")
    q_v = disturbed(truth, error) if error else truth
    q_z = disturbed(prediction(joint, "y", "z"), noise)
    weights, p_v = joint.marginal("v z"), joint.marginal("v")
    vsd = float((weights * kl(q_v[:, None], q_z[None])).sum())
    mistake = float((p_v * kl(truth, q_v)).sum())
    with np.errstate(divide="ignore"):
        ratios = np.abs(np.log(q_v)[:, None] - np.log(q_z)[None])
    largest = float(ratios[np.isfinite(ratios)].max())
    gap = entropy(joint, "y", given="z") - entropy(joint, "y", given="v")
    assert gap <= sufficiency_gap_bound(vsd, mistake, largest) + 1e-9
    # What the two classifiers say of their own certainty is as close.
    certainty = [-(q * np.log(np.where(q > 0, q, 1))).sum(-1) for q in (q_v, q_z)]
    apart = abs(float((weights * (certainty[0][:, None] - certainty[1][None])).sum()))
    assert apart <= entropy_difference_bound(vsd, truth.shape[-1]) + 1e-9


@given(chains(), st.integers(0, 2**31))
def test_sufficiency_and_superfluous_information_differ_by_what_is_kept_in_all(joint, seed):
    """I(v;y) - I(z;y) and I(v;z|y) move together where I(v;z) is held: that is the equivalence of Lemma 1's end."""
    generator = np.random.default_rng(seed)
    v = joint.table.shape[1]
    other = np.einsum("xvy,vz->xvzy", joint.marginal("x v y"), channel(generator, v, 3, 0.3))
    both = [joint, Joint(other, joint.names)]
    gaps = [information(j, "v", "y") - information(j, "z", "y") for j in both]
    superfluous = [information(j, "v", "z", given="y") for j in both]
    kept = [information(j, "v", "z") for j in both]
    assert gaps[0] - gaps[1] == pytest.approx(superfluous[0] - superfluous[1] - (kept[0] - kept[1]), **CLOSE)


def test_sufficiency_alone_compresses_nothing():
    """z = v has no gap and VSD 0, and keeps all that is superfluous: what compresses is that z is small, not VSD."""
    table = np.zeros((4, 4, 2))
    for v in range(4):
        table[v, v, v // 2] = 0.25
    joint = Joint(table, ("v", "z", "y"))
    assert distilled(joint, "v", "z") == 0
    assert information(joint, "v", "z", given="y") == pytest.approx(np.log(2))


# Two views: consistency.


@given(views(redundant=False))
def test_what_the_views_share_is_at_most_predictive_plus_superfluous(joint):
    """I(z1;v2) = I(z1;y) + I(z1;v2|y) - I(z1;y|v2): the published equality is the upper bound of it."""
    parts = information(joint, "z1", "y") + information(joint, "z1", "v2", "y") - information(joint, "z1", "y", "v2")
    assert information(joint, "z1", "v2") == pytest.approx(parts, **CLOSE)
    assert information(joint, "z1", "v2") <= information(joint, "v2", "v1", "y") + information(joint, "z1", "y") + 1e-9


@given(views(redundant=True))
def test_the_published_decomposition_holds_for_a_z_that_drops_nothing_shared(joint):
    for one, two in (("1", "2"), ("2", "1")):
        z, v, other = f"z{one}", f"v{one}", f"v{two}"
        assert information(joint, v, "y", given=other) == pytest.approx(0, **CLOSE)  # the views are redundant
        published = information(joint, other, v, "y") + information(joint, z, "y")
        dropped = information(joint, v, other, "y") - information(joint, z, other, "y")
        assert information(joint, z, other) == pytest.approx(published - dropped, **CLOSE)


def conditions(joint):
    """View-specific information in z, and superfluous information that z shares with the other view."""
    specific = information(joint, "v1", "z1", "v2") + information(joint, "v2", "z2", "v1")
    shared = information(joint, "z1", "v2", "y") + information(joint, "z2", "v1", "y")
    return specific, shared


def is_sufficient(joint):
    return all(information(joint, f"v{k}", "y") - information(joint, f"z{k}", "y") < 1e-9 for k in "12")


def is_minimal(joint):
    return all(information(joint, f"v{k}", f"z{k}", "y") < 1e-9 for k in "12")


@given(views(redundant=True))
def test_theorem_2_as_it_holds(joint):
    """Of redundant views and sufficient z: consistent always, and nothing else is kept iff both conditions are met."""
    assume(is_sufficient(joint))
    whole = information(joint, "v1 v2", "y")
    assert information(joint, "z1", "y") == pytest.approx(whole, **CLOSE)
    assert information(joint, "z2", "y") == pytest.approx(whole, **CLOSE)
    specific, shared = conditions(joint)
    assert (specific < 1e-9 and shared < 1e-9) == is_minimal(joint)


@given(views(redundant=True))
def test_theorem_2_the_published_conditions_leave_predictive_information_alone(joint):
    """With I(v1;v2|y) = 0 too, as published, z has nothing but what predicts: I(z;v) = I(z;y)."""
    specific, _ = conditions(joint)
    if specific < 1e-9 and information(joint, "v1", "v2", "y") < 1e-9:
        for k in "12":
            assert information(joint, f"z{k}", f"v{k}") == pytest.approx(information(joint, f"z{k}", "y"), **CLOSE)


def two_views(z1, z2, superfluous=1):
    """v_k = (y, s, own bit): y and the own bits fair, s shared with so many values; z_k = a function of v_k."""
    table = {}
    for y, s, a, b in itertools.product(range(2), range(superfluous), range(2), range(2)):
        table[(y, s, a), (y, s, b), z1(y, s, a), z2(y, s, b), y] = 1 / (8 * superfluous)
    axes = [sorted({key[axis] for key in table}, key=repr) for axis in range(5)]
    values = np.zeros([len(axis) for axis in axes])
    for key, p in table.items():
        values[tuple(axis.index(part) for axis, part in zip(axes, key, strict=True))] += p
    return Joint(values, ("v1", "v2", "z1", "z2", "y"))


def test_theorem_2_needs_sufficiency():
    """Constant z meet both published conditions, and predict nothing: the conditions are not enough by themselves."""
    joint = two_views(lambda y, s, a: 0, lambda y, s, b: 0)
    assert conditions(joint) == pytest.approx((0, 0))
    assert information(joint, "v1", "v2", "y") == pytest.approx(0)
    assert information(joint, "z1", "y") == pytest.approx(0)
    assert information(joint, "v1 v2", "y") == pytest.approx(np.log(2))


def test_theorem_2_is_not_necessary_for_equal_prediction():
    """z = v predict as much as both views do, and keep a view-specific bit each and what the views share besides y."""
    joint = two_views(lambda y, s, a: (y, s, a), lambda y, s, b: (y, s, b), superfluous=2)
    for z in ("z1", "z2"):
        assert information(joint, z, "y") == pytest.approx(information(joint, "v1 v2", "y"))
    assert conditions(joint) == pytest.approx((2 * np.log(2), 2 * np.log(2)))


def test_theorem_2_superfluous_information_of_the_views_may_be_left_behind_by_z():
    """Minimal consistent z exist although I(v1;v2|y) > 0: the second condition is on z, not on v."""
    joint = two_views(lambda y, s, a: y, lambda y, s, b: y, superfluous=2)
    assert information(joint, "v1", "v2", "y") == pytest.approx(np.log(2))
    assert is_sufficient(joint)
    assert is_minimal(joint)


@given(views(redundant=True))
def test_vcd_is_what_z_lacks_of_the_other_views_prediction(joint):
    """E D_KL(P_v2 || P_z1) = I(v2;y) - I(z1;y): again sufficiency, and again nothing about what else z keeps."""
    gap = information(joint, "v2", "y") - information(joint, "z1", "y")
    assert distilled(joint, "v2", "z1") == pytest.approx(gap, **CLOSE)


@given(views(redundant=True))
def test_vml_at_zero_makes_the_representations_predict_alike(joint):
    p, q = prediction(joint, "y", "z1"), prediction(joint, "y", "z2")
    weights = joint.marginal("z1 z2")
    vml = float((weights * js(p[:, None], q[None])).sum())
    assert vml >= -1e-12
    if vml < 1e-12:
        assert information(joint, "z1", "y") == pytest.approx(information(joint, "z2", "y"), abs=1e-5)


def test_every_vsd_vcd_vml_at_zero_can_go_with_view_specific_information():
    """The three losses are 0 for z = v of redundant views, which keep their own bits: none of them removes these."""
    joint = two_views(lambda y, s, a: (y, a), lambda y, s, b: (y, b))
    p, q = prediction(joint, "y", "z1"), prediction(joint, "y", "z2")
    losses = [distilled(joint, "v1", "z1"), distilled(joint, "v2", "z1"), distilled(joint, "v1", "z2")]
    losses.append(float((joint.marginal("z1 z2") * js(p[:, None], q[None])).sum()))
    assert losses == pytest.approx([0, 0, 0, 0])
    assert conditions(joint)[0] == pytest.approx(2 * np.log(2))
