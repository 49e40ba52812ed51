"""The procedure that carries out every protocol: from features to one score per setting.

For each setting: who queries and who may be in the gallery, the draw of the gallery in each trial, the ranking of each
draw, and the scores of the trials together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.evaluation.draws import DRAWS, Permutations, check_against, draw_gallery, draw_name, groups_of
from crossreid.evaluation.features import Features
from crossreid.evaluation.host_distances import host_distance_blocks, refuse_unknown
from crossreid.evaluation.measures import Ranking
from crossreid.evaluation.open_set import open_set_rates
from crossreid.evaluation.protocols import PROTOCOLS, Protocol, Setting
from crossreid.evaluation.query_scores import query_scores
from crossreid.evaluation.ranking import Ranker
from crossreid.evaluation.reranking_options import Normalise, Reranking
from crossreid.evaluation.scores import Score, TrialScore, trial_score
from crossreid.evaluation.sides import sides_of
from crossreid.evaluation.sorted_ranking import ENOUGH
from crossreid.evaluation.tensors import is_tensor

if TYPE_CHECKING:
    import torch

    from crossreid.evaluation.device_ranking import Started
    from crossreid.evaluation.reranking import Blocks

Trials = dict[int, np.ndarray]  # trial number to the rows of its gallery
# Replaces a metric: maps query rows and gallery rows of features to blocks of their distances.
Compare = Callable[[np.ndarray, np.ndarray], "Blocks"]

Named = TypeVar("Named")

_BLOCK = 1 << 24  # distances to all candidates held at a time
_DEVICE_BLOCK = 1 << 27  # on a device, where each block costs launches, also of all galleries


def evaluate(
    features: Features,
    protocol: str,
    *,
    metric: str = "euclidean",
    permutations: Permutations | None = None,
    draw: str | None = None,
    trials: int = 10,
    seed: int = 0,
    trial: int | None = None,
    settings: Sequence[str] | None = None,
    rerank: Reranking | None = None,
    normalise: Normalise | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str = "float64",
    compare: Compare | None = None,
) -> list[Score]:
    """Return the scores of features by a protocol of `PROTOCOLS`, one per setting (or the named `settings`, in protocol
    order).

    `permutations` are SYSU-MM01's; if given, the gallery is drawn by them, else by the protocol's own draw with `seed`
    (SYSU-MM01: 'seeded', LLCM: 'random-choice'); this is 'official', the default of `draw`, which may be 'seeded' or
    'random-choice' instead. Every score names its draw. `trials` is the number of draws. `trial` is the number of the
    one trial that the features belong to (RegDB; 1 if not given). Any subset of the identities will do. Distances are
    computed in `dtype`, on `device`, once for each pair of images however many trials and settings share it. `rerank`
    and `normalise` (by 'camera' or 'modality') are those of `crossreid.evaluation.reranking`, applied to each trial's
    gallery separately; both are off unless given, and printed with the score. `compare` replaces the metric that scores
    then name: for query rows and rows of all galleries it yields `(queries, distances (rows, G))`. On the CPU only
    re-ranking and normalisation load torch. Raises `CrossreidError` for an unknown name, `DataError` if the features do
    not suffice: no query or gallery image of a setting, permutations that do not fit, no query with a match.
    """
    plan, chosen = chosen_settings(protocol, settings)
    _check_names(metric, draw, trials, compare, rerank)
    draw = draw_of(plan, draw, permutations)
    if draw == "official" and permutations is not None:
        cameras = {c for s in chosen for c in (*(s.query_cameras or ()), *(s.gallery_cameras or ()))}
        check_against(permutations, features, sorted(cameras))
    kind = np.dtype(str(dtype).removeprefix("torch."))
    vectors: np.ndarray | torch.Tensor
    if str(device) == "cpu" and rerank is None and normalise is None:
        vectors = features.embeddings.astype(kind, copy=False)
    else:
        import torch

        vectors = torch.from_numpy(features.embeddings).to(device)  # narrower types are copied faster
        vectors = vectors.to(getattr(torch, kind.name))

    rankings: dict[str, dict[int, Ranking]] = {}
    asking: dict[str, np.ndarray] = {}
    about: dict[str, dict[str, Any]] = {}
    for queries, together in _by_queries({setting: sides_of(features, setting, plan) for setting in chosen}):
        galleries = {
            setting.name: _galleries(features, setting, rows, draw, trials, seed, permutations, trial)
            for setting, rows in together.items()
        }
        for setting, rows in together.items():
            asking[setting.name] = queries
            about[setting.name] = {
                "exclusion": plan.exclusion.applied(features.cameras[queries], features.cameras[rows]),
                "same_gallery": _all_alike(galleries[setting.name]),
            }
        if rerank is None and normalise is None:
            rankings |= _rank(features, vectors, queries, galleries, plan, metric, compare)
        else:
            rankings |= _rank_adjusted(features, vectors, queries, galleries, plan, metric, compare, rerank, normalise)
    drawn = draw_name(draw, seed) if plan.draw is not None and draw is not None else "every image"
    return [
        Score(
            protocol=plan.name,
            setting=setting.name,
            metric=metric,
            gallery_draw=drawn,
            counting=plan.counting,
            trials=_trial_scores(rankings[setting.name], plan),
            average_precision="trapezoids" if plan.trapezoid else "steps",
            re_ranked="no" if rerank is None else str(rerank),
            normalised="no" if normalise is None else normalise,
            **about[setting.name],
            each=(query_scores(features, asking[setting.name], rankings[setting.name]),),
        )
        for setting in chosen
    ]


def _galleries(
    features: Features, setting: Setting, rows: np.ndarray, draw: str | None, trials: int, seed: int,
    permutations: Permutations | None, trial: int | None,
) -> Trials:  # fmt: skip
    """Return the gallery of each trial, drawn from `rows`; if the setting draws none, that of the only trial."""
    if setting.shots is None or draw is None:
        return {trial or 1: rows}
    groups, shots, seen_by = groups_of(features, rows), setting.shots, setting.gallery_cameras
    return {
        number + 1: draw_gallery(groups, draw, shots, number, seed=seed, cameras=seen_by, permutations=permutations)
        for number in range(trials)
    }


def _trial_scores(rankings: Mapping[int, Ranking], plan: Protocol) -> tuple[TrialScore, ...]:
    return tuple(
        trial_score(ranking, number, open_set_rates(ranking) if plan.open_set else None)
        for number, ranking in rankings.items()
    )


def _all_alike(galleries: Trials) -> bool:
    """Return whether several trials have the same gallery, because there are no more images than are drawn."""
    first, *others = (np.sort(rows) for rows in galleries.values())
    return bool(others) and all(np.array_equal(first, rows) for rows in others)


def _check_names(metric: str, draw: str | None, trials: int, compare: Compare | None, rerank: Reranking | None) -> None:
    if compare is not None and rerank is not None:
        raise CrossreidError("re-ranking needs embeddings, and given distances have none. Leave it out.")
    if compare is None:
        refuse_unknown(metric)
    if draw is not None and draw not in DRAWS:
        raise CrossreidError(f"unknown gallery draw '{draw}'; choose one of: {', '.join(DRAWS)}.")
    if trials < 1:
        raise CrossreidError(f"expected at least 1 trial, found {trials}.")


def draw_of(plan: Protocol, draw: str | None, permutations: Permutations | None) -> str | None:
    """Return how the gallery is drawn: as requested, or by the protocol; unchanged if the protocol does not draw."""
    if plan.draw is None or draw not in (None, "official"):
        return draw
    return "official" if plan.permuted and permutations is not None else plan.draw


def chosen_settings(protocol: str, settings: Sequence[str] | None) -> tuple[Protocol, list[Setting]]:
    """Return the protocol of a name, and its settings of the given names, in protocol order, or all.

    Raises:
        CrossreidError: an unknown name.
    """
    plan = _named(PROTOCOLS, protocol, "protocol")
    known = {setting.name: setting for setting in plan.settings}
    return plan, [_named(known, name, "setting") for name in settings or known]


def _by_queries(
    sides: Mapping[Setting, tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, dict[Setting, np.ndarray]]]:
    """Return queries, and per setting the rows of their galleries: settings with the same queries share distances."""
    pending = dict(sides)
    while pending:
        queries = next(iter(pending.values()))[0]
        together = {setting: rows for setting, (own, rows) in pending.items() if np.array_equal(own, queries)}
        for setting in together:
            del pending[setting]
        yield queries, together


def _rank(
    features: Features,
    vectors: np.ndarray | torch.Tensor,
    queries: np.ndarray,
    galleries: dict[str, Trials],
    plan: Protocol,
    metric: str,
    compare: Compare | None,
) -> dict[str, dict[int, Ranking]]:
    """Return rankings by setting and trial of the same queries against several galleries."""
    device = vectors.device if is_tensor(vectors) else "cpu"
    pool = np.unique(np.concatenate([rows for drawn in galleries.values() for rows in drawn.values()]))
    pairs = len(queries) * sum(len(rows) for drawn in galleries.values() for rows in drawn.values())
    few = compare is None and pairs <= ENOUGH
    prepared = {
        (name, number): (
            ranker_of(features, queries, rows, plan, device, few),
            None if np.array_equal(rows, pool) else np.searchsorted(pool, rows),
        )
        for name, drawn in galleries.items()
        for number, rows in drawn.items()
    }
    parts: dict[tuple[str, int], list[Ranking | Started]] = {key: [] for key in prepared}
    blocks = compare(queries, pool) if compare else _blocks(vectors, queries, pool, metric, few)
    for at, matrix in blocks:
        for key, (ranker, columns) in prepared.items():
            parts[key].append(ranker.start(at, matrix, columns=columns, nearest=plan.open_set))
    return {
        name: {number: prepared[name, number][0].finish(parts[name, number]) for number in drawn}
        for name, drawn in galleries.items()
    }


def _blocks(
    vectors: np.ndarray | torch.Tensor, queries: np.ndarray, pool: np.ndarray, metric: str, few: bool
) -> Iterator[tuple[slice, np.ndarray]] | Blocks:
    """Yield the distances of query rows to rows that any of the galleries holds."""
    if not is_tensor(vectors):
        step = max(16, min(256, _BLOCK // len(pool)))
        return host_distance_blocks(vectors[queries], vectors[pool], metric, rows=step, few=few)
    from crossreid.evaluation.distances import distance_blocks

    return distance_blocks(vectors[queries], vectors[pool], metric, rows=max(16, _DEVICE_BLOCK // len(pool)))


def _rank_adjusted(
    features: Features,
    vectors: np.ndarray | torch.Tensor,
    queries: np.ndarray,
    galleries: dict[str, Trials],
    plan: Protocol,
    metric: str,
    compare: Compare | None,
    rerank: Reranking | None,
    normalise: Normalise | None,
) -> dict[str, dict[int, Ranking]]:
    """As `_rank`, if distances depend on the gallery's content: each gallery separately."""

    import torch

    from crossreid.evaluation.distances import distance_blocks
    from crossreid.evaluation.reranking import normalised_blocks, reranked_blocks

    tensor = torch.as_tensor(vectors)

    def ranking(rows: np.ndarray) -> Ranking:
        def blocks() -> Blocks:
            if compare is not None:
                return compare(queries, rows)
            if rerank is None:
                return distance_blocks(tensor[queries], tensor[rows], metric)
            return reranked_blocks(tensor[queries], tensor[rows], rerank, metric)

        given = blocks()
        if normalise is not None:
            groups = features.cameras if normalise == "camera" else features.modalities
            given = normalised_blocks(blocks, groups[queries], groups[rows])
        ranker = ranker_of(features, queries, rows, plan, tensor.device)
        return ranker.finish([ranker.start(at, block, nearest=plan.open_set) for at, block in given])

    return {name: {number: ranking(rows) for number, rows in drawn.items()} for name, drawn in galleries.items()}


def ranker_of(
    features: Features,
    queries: np.ndarray,
    rows: np.ndarray,
    plan: Protocol,
    device: torch.device | str = "cpu",
    few: bool = False,
) -> Ranker:
    """Return the ranker of gallery rows for query rows; no query finds itself, or the tracklet that it belongs to."""
    frames, tracklets = features.frames, features.tracklets
    assert frames is not None
    assert tracklets is not None
    entries = np.arange(len(features))
    if (tracklets != "").any():
        _, films = np.unique(tracklets, return_inverse=True)
        entries = np.where(tracklets != "", len(features) + films.reshape(-1), entries)
    itself = entries[queries][:, None] == entries[rows] if np.isin(entries[queries], entries[rows]).any() else None
    return Ranker.of(
        len(queries),
        len(rows),
        device,
        features.identities[queries],
        features.identities[rows],
        features.cameras[queries],
        features.cameras[rows],
        frames[queries],
        frames[rows],
        exclusion=plan.exclusion,
        junk=itself,
        counting=plan.counting,
        trapezoid=plan.trapezoid,
        few=few,
    )


def _named(known: Mapping[str, Named], name: str, what: str) -> Named:
    if name not in known:
        raise CrossreidError(f"unknown {what} '{name}'; choose one of: {', '.join(map(repr, known))}.")
    return known[name]
