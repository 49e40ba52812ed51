from dataclasses import replace

import numpy as np
import pytest

from calibrated import known_calibration
from crossreid.data.records import INFRARED, VISIBLE
from crossreid.errors import CrossreidError
from crossreid.galleries import GalleryError, ModelMismatch, open_gallery, restore
from crossreid.galleries.entries import Entry, Matches
from crossreid.galleries.errors import GalleryFault
from crossreid.galleries.judging import Threshold, at_prior, judge
from opened_gallery import MODEL

CURVES = known_calibration(MODEL)


def matches(*found):
    entries = tuple(Entry(None, str(place), modality=kind) for place, (_, kind) in enumerate(found))
    return Matches(tuple(entry.id for entry in entries), np.array([score for score, _ in found]), entries)


FOUND = matches((0.9, VISIBLE), (0.85, INFRARED), (0.7, VISIBLE))


def test_each_match_by_the_curve_of_its_pair():
    found = judge(CURVES, FOUND, VISIBLE, Threshold())
    np.testing.assert_allclose(found.probabilities, [0.01 + 0.98 * 0.9, 0.01 + 0.98 * 0.65, 0.01 + 0.98 * 0.7])
    assert (found.accepted, found.known) == (None, None), "no threshold is asked for"
    other = judge(CURVES, FOUND, INFRARED, Threshold()).probabilities
    np.testing.assert_allclose(other, [0.01 + 0.98 * 0.7, 0.01 + 0.98 * 0.85, 0.01 + 0.98 * 0.5])


@pytest.mark.parametrize(
    ("threshold", "accepted"),
    [
        (Threshold(0.65), [True, False, True]), (Threshold(0.9), [False] * 3),
        (Threshold(false_accept_rate=0.1), [True, True, False]), (Threshold(false_accept_rate=0.01), [False] * 3),
    ],
)  # fmt: skip
def test_what_reaches_the_threshold_is_accepted(threshold, accepted):
    found = judge(CURVES, FOUND, VISIBLE, threshold)
    assert found.accepted.tolist() == accepted
    assert found.known == any(accepted)


def test_the_query_itself_makes_nobody_known():
    itself = judge(CURVES, FOUND, VISIBLE, Threshold(0.85), own=[True, False, False])
    assert itself.accepted.tolist() == [True, False, False]
    assert itself.known is False
    assert judge(CURVES, matches(), VISIBLE, Threshold(0.5)).known is False, "nothing found is nobody known"


def test_without_a_curve_nothing_is_said():
    threshold = Threshold(0.5)
    for calibration, query in ((None, VISIBLE), (CURVES, None)):
        found = judge(calibration, FOUND, query, threshold)
        assert np.isnan(found.probabilities).all()
        assert (found.accepted, found.known) == (None, None)
    only = type(CURVES)({"visible-visible": CURVES.curves["visible-visible"]}, {}, prior=0.1)
    found = judge(only, FOUND, VISIBLE, threshold)
    assert np.isnan(found.probabilities).tolist() == [False, True, False]
    assert found.accepted.tolist() == [True, False, True]


def test_sets_are_judged_by_their_own():
    both = type(CURVES)(CURVES.curves, CURVES.thresholds, others={"set-image": known_calibration(low=0.5)})
    assert judge(both, FOUND, VISIBLE, Threshold(), as_set=True).probabilities[0] == pytest.approx(0.01 + 0.98 * 0.8)
    assert judge(both, FOUND, VISIBLE, Threshold()).probabilities[0] == pytest.approx(0.01 + 0.98 * 0.9)


SIZES = replace(CURVES, entries={"visible-visible": 60, "visible-infrared": 40, "infrared-visible": 1000})


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (400, "more strangers the nearest is closer"),
        (25, "fewer strangers the nearest is farther"),
        (399, None),
        (26, None),
        (0, None),
    ],
)
def test_a_gallery_of_another_size_than_the_thresholds_is_said(entries, words):
    found = judge(SIZES, FOUND, VISIBLE, Threshold(false_accept_rate=0.1), entries=entries)
    assert found.known is True
    if words is None:
        assert found.warning is None
    else:
        assert f"was measured with 100 entries, but the gallery has {entries}: among {words}" in found.warning
    assert judge(SIZES, FOUND, VISIBLE, Threshold(0.5), entries=entries).warning is None, "a probability is of one pair"
    assert judge(CURVES, FOUND, VISIBLE, Threshold(false_accept_rate=0.1), entries=entries).warning is None


def test_a_prior_needs_a_calibration():
    assert at_prior(CURVES, None, "here") is CURVES
    assert at_prior(CURVES, 0.5, "here").probability(0.5, VISIBLE, VISIBLE) == pytest.approx(0.95, abs=1e-3)
    assert at_prior(None, None, "here") is None
    with pytest.raises(CrossreidError, match=r"^here has no calibration"):
        at_prior(None, 0.5, "here")
    with pytest.raises(CrossreidError, match="prior 1: expected the share of pairs"):
        at_prior(CURVES, 1, "here")


def test_thresholds_that_cannot_be():
    with pytest.raises(CrossreidError, match="expected only one of them"):
        Threshold(0.5, 0.1)
    with pytest.raises(CrossreidError, match="--unknown-below 1: expected a probability"):
        Threshold(1)
    Threshold().refuse_without(None, "here")
    with pytest.raises(CrossreidError, match=r"^here has no calibration"):
        Threshold(0.5).refuse_without(None, "here")
    with pytest.raises(CrossreidError, match=r"has thresholds for 0.01, 0.1\. Calibrate with --false-accept-rate 0.5"):
        Threshold(false_accept_rate=0.5).refuse_without(CURVES, "here")
    assert Threshold(0.25).in_words == "probability 0.25"
    assert Threshold(false_accept_rate=0.01).in_words == "the score of false-accept rate 0.01"


def test_every_backend_keeps_a_calibration_through_copies(opened, tmp_path):
    gallery = opened()
    assert gallery.calibration() is None
    assert gallery.stats().calibration is None
    gallery.note_calibration(SIZES)
    gallery.note_calibration(SIZES)
    assert gallery.stats().calibration == {"method": "isotonic", "prior": 0.05, "pairs": list(CURVES.curves)}
    for again in range(2):
        told = opened(read_only=True, model=None, dimension=None) if again else gallery
        found = told.calibration()
        assert (found.prior, found.method, found.fingerprint) == (0.05, "isotonic", MODEL)
        assert found.thresholds == CURVES.thresholds
        assert found.entries == SIZES.entries
        assert found.curves["visible-infrared"](0.7) == pytest.approx(0.5)
    with pytest.raises(GalleryError, match="read-only"):
        told.note_calibration(known_calibration(MODEL, low=0.1))
    gallery = opened()
    gallery.note_calibration(known_calibration(MODEL, low=0.1))
    assert gallery.calibration().curves["visible-visible"](0.1) == pytest.approx(0.01)
    with pytest.raises(ModelMismatch, match="Calibrate the gallery's model"):
        gallery.note_calibration(known_calibration("0" * 64))
    gallery.note_run(tmp_path)
    gallery.compact()
    gallery.snapshot(tmp_path / "copy")
    for target in (tmp_path / "back", tmp_path / "back.db"):
        restore(tmp_path / "copy", target)
        with open_gallery(target, read_only=True) as copy:
            assert copy.calibration().curves["visible-visible"](0.1) == pytest.approx(0.01)
            assert copy.run() == tmp_path
    gallery._note({"calibration": "{"})
    with pytest.raises(GalleryFault, match="damaged"):
        gallery.calibration()
    gallery._note({"calibration": None})
    assert opened().calibration() is None
    assert opened().run() == tmp_path
