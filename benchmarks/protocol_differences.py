"""How much a score changes if a protocol is not followed, on one worked example each.

    python benchmarks/protocol_differences.py

Embeddings are random, not learned: an identity's centre plus noise with a fixed seed. The figures show the size and the
direction of a difference, not what any published method would gain; docs/evaluation.md shows them.
"""

from __future__ import annotations

import numpy as np

from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.ranking import rank_embeddings
from crossreid.evaluation.reranking_options import KReciprocal

PEOPLE, DIMENSIONS = 100, 96


def cross_modal(seed: int, noise: np.ndarray | float, images: int = 10) -> Features:
    """`images` of each identity in either modality, cameras 1 and 2; noise `(PEOPLE,)` or one number."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(PEOPLE), 2 * images)
    infrared = np.tile(np.repeat([0, 1], images), PEOPLE)
    centres, shift = rng.normal(size=(PEOPLE, DIMENSIONS)), rng.normal(size=DIMENSIONS)
    spread = np.broadcast_to(noise, PEOPLE)[people][:, None]
    embeddings = centres[people] + 0.5 * infrared[:, None] * shift + spread * rng.normal(size=(len(people), DIMENSIONS))
    names = people.astype(str)
    return Features(
        embeddings, names, infrared + 1, infrared, positions_of(list(zip(names, infrared + 1, strict=True))),
        np.full(len(people), ""), np.where(infrared, "query", "gallery"),
    )  # fmt: skip


def without_a_match() -> list[tuple[str, str, float]]:
    """A third of the queries are of people that the gallery never shows."""
    features = cross_modal(0, 2.0)
    query, gallery = features.roles == "query", features.roles == "gallery"
    gallery &= np.array([int(name) % 3 != 0 for name in features.identities])
    ranking = rank_embeddings(
        features.embeddings[query],
        features.embeddings[gallery],
        features.identities[query],
        features.identities[gallery],
    )
    precision = ranking.average_precision
    return [
        ("a query without a match", "skipped and counted (here)", ranking.mAP),
        ("", "average precision 0", float(np.nan_to_num(precision).mean())),
        ("", "average precision 1", float(np.nan_to_num(precision, nan=1.0).mean())),
    ]


def one_model_for_ten_trials() -> list[tuple[str, str, float]]:
    """RegDB: a model knows the people it was trained on better, here by half of the noise."""
    rng = np.random.default_rng(1)
    halves = [rng.permutation(PEOPLE)[: PEOPLE // 2] for _ in range(10)]

    def score(trained: np.ndarray, tested: np.ndarray) -> float:
        noise = np.where(np.isin(np.arange(PEOPLE), trained), 1.0, 2.0)
        features = cross_modal(1, noise)
        rows = features.take(np.isin(features.identities, tested.astype(str)))
        return evaluate(rows, "regdb", settings=["visible to thermal"])[0].mAP

    everyone = np.arange(PEOPLE)
    own = [score(half, np.setdiff1d(everyone, half)) for half in halves]
    one = [score(halves[0], np.setdiff1d(everyone, half)) for half in halves]
    return [
        ("RegDB's ten trials", "its own model for each (here)", float(np.mean(own))),
        ("", "the first trial's model in all ten", float(np.mean(one))),
    ]


def hidden_re_ranking() -> list[tuple[str, str, float]]:
    features = cross_modal(2, 1.6)
    (plain,) = evaluate(features, "regdb", settings=["thermal to visible"])
    (again,) = evaluate(features, "regdb", settings=["thermal to visible"], rerank=KReciprocal())
    return [
        ("re-ranking", "none, and reported (here, by default)", plain.mAP),
        ("", "k-reciprocal, not reported", again.mAP),
    ]


def trapezoids() -> list[tuple[str, str, float]]:
    features = cross_modal(3, 2.0)
    query, gallery = features.roles == "query", features.roles == "gallery"
    given = (
        features.embeddings[query],
        features.embeddings[gallery],
        features.identities[query],
        features.identities[gallery],
    )
    return [
        ("area under precision-recall", "steps", rank_embeddings(*given).mAP),
        ("", "trapezoids", rank_embeddings(*given, trapezoid=True).mAP),
    ]


def same_camera_left_in() -> list[tuple[str, str, float]]:
    """Market-1501: the query's identity in the query's own camera is excluded; here those images are nearer."""
    rng = np.random.default_rng(4)
    people, cameras = np.repeat(np.arange(PEOPLE), 8), np.tile(np.repeat([1, 2, 3, 4], 2), PEOPLE)
    centres = (
        rng.normal(size=(PEOPLE, DIMENSIONS))[people]
        + 1.5 * rng.normal(size=(PEOPLE * 5, DIMENSIONS))[people * 5 + cameras]
    )
    embeddings = centres + 0.8 * rng.normal(size=centres.shape)
    query = np.arange(len(people)) % 2 == 0
    sides = (embeddings[query], embeddings[~query], people[query], people[~query], cameras[query], cameras[~query])
    return [
        (
            "same identity, same camera",
            "excluded (here)",
            rank_embeddings(*sides, exclusion=SAME_IDENTITY_AND_CAMERA).mAP,
        ),
        ("", "included", rank_embeddings(*sides).mAP),
    ]


def table() -> str:
    rows = [
        row
        for part in (without_a_match, one_model_for_ten_trials, hidden_re_ranking, trapezoids, same_camera_left_in)
        for row in part()
    ]
    lines = ["| what | how | mAP |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {how} | {100 * value:.1f} |" for what, how, value in rows])


if __name__ == "__main__":
    print(table())
