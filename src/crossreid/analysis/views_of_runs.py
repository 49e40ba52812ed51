"""How trained runs use views: accuracy by the number of images, camera bias, distances of pairs, attention.

The analyses of Porrello et al., "Robust Re-Identification by Multiple Views Knowledge Distillation", ECCV 2020, for
runs of any method; the first one needs tracklets, the others cameras. Each writes its numbers as JSON, for every run
separately.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossreid.analysis.asked_images import asked_records, choose_images, some_identities
from crossreid.analysis.camera_probe import read_cameras
from crossreid.analysis.factors_of_runs import UNTRAINED
from crossreid.analysis.pair_distances import pair_distances, place_of, summarised
from crossreid.analysis.rollout import MapKind, attention_maps, has_rollout
from crossreid.data.images import load_image
from crossreid.data.records import DataError, Record, Split
from crossreid.data.tracklets import tracklets_of
from crossreid.data.transforms import EvalTransform
from crossreid.evaluation.embedding import embed
from crossreid.evaluation.features import Features, features_of
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.sets import SetSetting
from crossreid.files import write_json
from crossreid.runs.floors import pretrained_of, untrained_of
from crossreid.runs.folders import named_runs
from crossreid.runs.named_network import NOT_TRAINED
from crossreid.runs.recipe import recipe_of_run
from crossreid.runs.run import Run, open_run
from crossreid.runs.scoring import Advance, embed_compared, reading, score_sets

Bars = Callable[[str], Advance]  # creates the progress bar of one network


def opened(named: Mapping[str, Sequence[Path]], *, firsts: bool = False) -> Iterator[tuple[str, Run]]:
    """Open every run, or the first of each name, one after the other; their data set is read once.

    Raises:
        DataError: the runs are on different data sets.
    """
    split: Split | None = None
    first = None
    for name, folders in named.items():
        for folder in folders[:1] if firsts else folders:
            data = recipe_of_run(folder).data if (folder / "recipe.yaml").is_file() else None
            key = None if data is None else (data.name, data.root, data.options, data.sources)
            if split is not None and key != first:
                raise DataError(f"{folder} is on another data set than the runs before it; analyse them separately.")
            run = open_run(folder, split=split)
            split, first = run.split, key
            yield name, run


def by_images(
    paths: Sequence[Path], out: Path, *, counts: Sequence[int] = (1, 2, 4, 8, 0),
    titles: Mapping[str, str] | None = None, bars: Bars | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write rank-1 and mAP by the number of images to `out`/images.json.

    Compares one image, the first of each query tracklet, with n images of each gallery tracklet; and n images of each
    query tracklet with videos, as in the recipe.

    Args:
        counts: values of n; 0 for all images of a tracklet.

    Raises:
        DataError: the data set has no tracklets, or its protocol has several settings.
    """
    settings = {(side, count): SetSetting(*pair) for side, count, pair in _pairs(counts)}
    rows: list[dict[str, Any]] = []
    lengths: list[int] = []
    for name, run in opened(named_runs(paths, titles)):
        lengths = lengths or _tracklet_lengths(run.split)
        compared = embed_compared(
            run.method, run.split, run.recipe, settings=list(dict.fromkeys(settings.values())), first_frame=True,
            advance=_bar(bars, name, run),
        )  # fmt: skip
        scores = {score.setting: score for score in score_sets(compared, run.split, run.recipe)}
        for (side, count), setting in settings.items():
            for direction in dict.fromkeys(key.rpartition(", ")[0] for key in scores):
                score = scores[f"{direction}, {setting.name}" if direction else setting.name]
                rows.append(
                    {**_about(name, run), "direction": direction, "side": side, "images": count,
                     "rank-1": score.rank(1), "mAP": score.mAP}
                )  # fmt: skip
    table = {
        "data": run.split.name, "protocol": run.split.protocol, "counts": list(counts), "rows": rows,
        "tracklets": {"test": len(lengths), "images": float(np.mean(lengths)), "longest": max(lengths)},
    }  # fmt: skip
    write_json(out / "images.json", table)
    return table


def by_camera(
    paths: Sequence[Path], out: Path, *, divisions: int = 5, images: int = 4, untrained: bool = False,
    titles: Mapping[str, str] | None = None, bars: Bars | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write how well a linear probe predicts the camera to `out`/cameras.json; see `analysis.camera_probe`.

    Args:
        divisions: number of random splits of the test identities into those to fit on and those to test on.
        images: the most images per tracklet.
        untrained: also the networks of the first name with random weights, and with pretrained backbones, if they had
            them.

    Raises:
        DataError: fewer than two known cameras, or fewer than four identities.
    """
    named = named_runs(paths, titles)
    rows = []
    for name, run in opened(named):
        for title, network in _networks(name, run, untrained and name == next(iter(named))).items():
            features = _embedded(network, run, asked_records(run.split, images), _bar(bars, title, run))
            for modality, readings in read_cameras(features, divisions).items():
                rows.append({**_about(title, run), "modality": modality, "images": len(features), "readings": readings})
    rows.sort(key=lambda row: row["name"] in (UNTRAINED, NOT_TRAINED))
    table = {"data": run.split.name, "divisions": divisions, "rows": rows}
    write_json(out / "cameras.json", table)
    return table


def by_pair(
    paths: Sequence[Path], out: Path, *, images: int = 4, limit: int = 4000, metric: str = "cosine", seed: int = 0,
    across: str = "cameras", untrained: bool = False, titles: Mapping[str, str] | None = None, bars: Bars | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write distances of pairs of test images by kind to `out`/distances.json; see `analysis.pair_distances`.

    Args:
        images: the most images per tracklet.
        limit: number of images; if there are more, identities are drawn with `seed` to have about as many.
        across: what pairs of one identity are compared across, cameras or modalities.
        untrained: also the networks of the first name with random weights, and with pretrained backbones, if they had
            them.

    Raises:
        DataError: neither cameras nor tracklets are known, or no identity was seen by two, or in both modalities.
    """
    named = named_runs(paths, titles)
    rows, place = [], ""
    for name, run in opened(named):
        records = some_identities(asked_records(run.split, images), limit, seed)
        for title, network in _networks(name, run, untrained and name == next(iter(named))).items():
            features = _embedded(network, run, records, _bar(bars, title, run))
            place = place_of(features, across)[0]
            pairs = summarised(pair_distances(features, metric, across))
            rows.append({**_about(title, run), "images": len(features), **pairs})
    rows.sort(key=lambda row: row["name"] not in (UNTRAINED, NOT_TRAINED))
    table = {"data": run.split.name, "metric": metric, "place": place, "rows": rows}
    write_json(out / "distances.json", table)
    return table


def by_attention(
    paths: Sequence[Path], out: Path, *, count: int = 6, images: int = 4, seed: int = 0,
    kinds: Sequence[MapKind] = ("grad-cam",), titles: Mapping[str, str] | None = None, bars: Bars | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write maps of a few test images for each run to `out`/attention.json; see `analysis.grad_cam` and
    `analysis.rollout`.

    They explain the cosine similarity between an image's embedding and the mean embedding of its identity's test
    images, including itself. With several seeds, the first is used.

    Args:
        count: the most images, drawn with `seed`, of as many identities and cameras as possible.
        images: the most images per tracklet in the means.
        kinds: of maps. A run whose network has no rollout uses Grad-CAM; `without_rollout` in the result names it.

    Raises:
        DataError: an encoder returns tokens that form no grid.
    """
    chosen: list[Record] = []
    rows: list[dict[str, Any]] = []
    without: list[str] = []
    for name, run in opened(named_runs(paths, titles), firsts=True):
        records = asked_records(run.split, images)
        chosen = chosen or choose_images(records, count, seed)
        identities = {record.identity for record in chosen}
        wanted = [record for record in records if record.identity in identities]
        features = _embedded(run.method, run, wanted, _bar(bars, name, run))
        data = run.recipe.data
        transform = EvalTransform(data.height, data.width, data.resizing, data.normalisation)
        own_kinds = kinds if has_rollout(run.method) else ("grad-cam",)
        if tuple(own_kinds) != tuple(kinds):
            without.append(name)
        for record in chosen:
            mean = features.embeddings[features.identities == record.identity].mean(0)
            image = transform(load_image(record))
            maps = [
                one for kind in own_kinds for one in attention_maps(run.method, image, int(record.modality), mean, kind)
            ]
            rows.append(
                {**_about(name, run), "image": record.name, "identity": record.identity,
                 "camera": record.camera, "modality": record.modality.name.lower(), "similarity": maps[0].similarity,
                 "size": [run.recipe.data.height, run.recipe.data.width],
                 "maps": [{"encoder": one.encoder, "kind": one.kind, "heat": one.heat.tolist()} for one in maps]}
            )  # fmt: skip
    table = {"data": run.split.name, "seed": seed, "rows": rows}
    write_json(out / "attention.json", table)
    return {**table, "records": chosen, "without_rollout": without}


def _pairs(counts: Sequence[int]) -> Iterator[tuple[str, int, tuple[int, int | None]]]:
    for count in counts:
        yield "gallery", count, (1, count)
        yield "query", count, (count, None)


def _tracklet_lengths(split: Split) -> list[int]:
    """Return the number of images of each test tracklet. Raises `DataError` if there are none, or the protocol does not
    use them.
    """
    lengths = [len(tracklet.frames) for tracklet in tracklets_of(split.test)]
    if max(lengths) < 2 or len(PROTOCOLS[split.protocol].settings) > 1:
        raise DataError(
            f"{split.name}: the number of images cannot be varied, because no test image has a tracklet, or the protocol "
            f"{split.protocol} draws single images. Expected a data set with tracklets, such as mars or veri-776."
        )
    return lengths


def _networks(name: str, run: Run, untrained: bool) -> dict[str, torch.nn.Module]:
    """Return the run's network by name; with `untrained` also with random and, if any, its backbone's own weights."""
    networks: dict[str, torch.nn.Module] = {name: run.method}
    if untrained:
        networks[UNTRAINED] = untrained_of(run.recipe, run.split)
        if (own := pretrained_of(run.recipe, warnings.warn)) is not None:
            networks[NOT_TRAINED] = own
    return networks


def _embedded(method: torch.nn.Module, run: Run, records: Sequence[Record], advance: Advance | None) -> Features:
    """Return features of single images, all in the role of queries."""
    if advance is not None:
        advance(0, len(records))
    device = next(run.method.parameters()).device
    return features_of(records, (), embed(method.to(device), records, advance=advance, **reading(run.recipe)))


def _bar(bars: Bars | None, name: str, run: Run) -> Advance | None:
    return None if bars is None else bars(f"{name}, seed {run.recipe.training.seed}")


def _about(name: str, run: Run) -> dict[str, Any]:
    return {"name": name, "run": run.folder.as_posix(), "seed": run.recipe.training.seed}
