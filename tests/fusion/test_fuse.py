"""The whole on files: embeddings of two networks and photographs, by Python and by the command."""

import json
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

import crossreid
from crossreid.cli.app import app
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import load, save

PROTOCOL = "single-modality"


@pytest.fixture(scope="module")
def fused(coats):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return crossreid.fuse(
            list(coats.tested.values()), PROTOCOL, list(coats.known.values()), learn_weights=True, local="sift",
            local_options={"size": 128}, images=coats.images, calibration_images=coats.known_images, shortlist=20,
        )  # fmt: skip


def test_each_score_stands_beside_every_fusion(fused, coats):
    rank1 = {way: scores[0].rank(1) for way, scores in fused.scores.items()}
    assert list(rank1) == [
        "a.npz", "b.npz", "mean of cosines", "concatenation", "reciprocal ranks", "calibrated",
        "calibrated, learned weights", "sift alone", "reciprocal ranks with sift", "calibrated with sift",
        "calibrated with sift, learned weights",
    ]  # fmt: skip
    for name in "ab":
        (alone,), _ = crossreid.rank(coats.tested[name], coats.tested[name], PROTOCOL, metric="cosine", say=[].append)
        assert rank1[f"{name}.npz"] == alone.rank(1)
        assert rank1["calibrated"] > rank1[f"{name}.npz"]
    # Errors of the two networks and of SIFT are independent here, which is what fusion lives on.
    assert rank1["calibrated with sift"] > rank1["calibrated"]
    assert fused.compared == 2 * 48 * 20
    assert set(fused.fusions) == {way for way in rank1 if way.startswith("calibrated")}
    weights = fused.fusions["calibrated with sift, learned weights"].weights[0].weights
    assert (weights > 0).all()


def test_the_command_gives_the_same_and_writes_each_query(fused, coats, tmp_path):
    known = [part for file in coats.known.values() for part in ("--calibrate-on", file)]
    result = run(
        *coats.tested.values(), *known, "--protocol", PROTOCOL, "--learn-weights", "--local", "sift", "--local-option",
        "size=128", "--images", coats.images, "--calibration-images", coats.known_images, "--shortlist", 20, "--cache",
        tmp_path / "cache", "--json", tmp_path / "s.json", "--per-query",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "equal weights" in result.output
    written = json.loads((tmp_path / "s.json").read_text())
    assert list(written["scores"]) == list(fused.scores)
    for way, (score,) in fused.scores.items():
        assert written["scores"][way][0]["per-query"] == score.each[0].rows()
    assert written["fusions"]["calibrated"]["visible-visible"]["pairs"] == 48 * 47
    assert len(list((tmp_path / "cache").iterdir())) == 96


def test_one_embedding_and_a_matcher_suffice(coats):
    found = crossreid.fuse(
        [coats.tested["a"]], PROTOCOL, [coats.known["a"]], local=crossreid_sift(), images=coats.images,
        calibration_images=coats.known_images, shortlist=3,
    )  # fmt: skip
    assert list(found.scores) == ["a.npz", "local alone", "reciprocal ranks with local", "calibrated with local"]


def crossreid_sift():
    from crossreid.fusion.local_matching import make_matcher

    return make_matcher("sift", {"size": 96, "keypoints": 64})


def test_identities_that_are_calibrated_on_and_tested_are_said(coats, tmp_path):
    features = load(coats.known["a"])
    who = features.identities.astype(object)
    who[:4] = "3"
    object.__setattr__(features, "identities", who.astype(str))
    save(features, tmp_path / "a.npz")
    save(load(coats.known["b"]).take(np.arange(48)), tmp_path / "b.npz")
    lines = []
    with pytest.raises(CrossreidError, match="differ in identities"):
        crossreid.fuse(list(coats.tested.values()), PROTOCOL, [tmp_path / "a.npz", tmp_path / "b.npz"])
    features = load(coats.known["b"])
    object.__setattr__(features, "identities", who.astype(str))
    save(features, tmp_path / "b.npz")
    crossreid.fuse(list(coats.tested.values()), PROTOCOL, [tmp_path / "a.npz", tmp_path / "b.npz"], say=lines.append)
    assert [line for line in lines if "1 identities, 3 for example, are both calibrated on and tested" in line]


def test_what_cannot_be_fused_is_one_line(coats):
    a, b = coats.tested.values()
    known_a, known_b = coats.known.values()
    for arguments, said in (
        ((a, "--calibrate-on", known_a), "1 embeddings cannot be fused"),
        ((a, b, "--calibrate-on", known_a), "2 embeddings and 1 to calibrate on"),
        ((a, a, "--calibrate-on", known_a, "--calibrate-on", known_a), "named twice"),
        ((a, b, "--calibrate-on", known_b, "--calibrate-on", known_a), "in the order of the embeddings"),
        ((a, b, "--calibrate-on", a, "--calibrate-on", b), "uses the test images themselves"),
        ((a, b, "--calibrate-on", known_a, "--calibrate-on", known_b, "--local", "shift"), "Did you mean 'sift'"),
        ((a, b, "--calibrate-on", known_a, "--calibrate-on", known_b, "--local-option", "size=3"), "--local-option is for"),
        ((a, b, "--calibrate-on", known_a, "--calibrate-on", known_b, "--setting", "x"), "unknown setting 'x'"),
        ((a, b, "--calibrate-on", known_a, "--calibrate-on", known_b, "--per-query"), "name a file with --json"),
    ):  # fmt: skip
        result = run(*arguments, "--protocol", PROTOCOL)
        assert isinstance(result.exception, CrossreidError), (arguments, result.exception)
        assert said in str(result.exception)
        assert "\n" not in str(result.exception)


def run(*arguments):
    return CliRunner().invoke(app, ["fuse", *map(str, arguments)])
