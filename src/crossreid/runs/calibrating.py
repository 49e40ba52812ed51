"""From a run to a calibration: embed images as for a gallery, fit the curves, store them in the run.

The images are embedded without camera side information, because a gallery's model does not know cameras, and compared
by cosine similarity, as galleries do, whatever metric the run is scored with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crossreid.data.tracklets import tracklet_name, tracklets_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration, Kind, check_prior
from crossreid.evaluation.calibration_files import FILE, read_file, to_json
from crossreid.evaluation.embedding import embed
from crossreid.evaluation.features import Features, features_of
from crossreid.evaluation.fitted_calibration import RATES, calibration_of, share_of_same
from crossreid.evaluation.scored_pairs import Sides, calibrated_exclusion
from crossreid.evaluation.sets import features_of_tracklets
from crossreid.files import write_json
from crossreid.runs.calibration_images import CalibrationImages, calibration_images, named_data
from crossreid.runs.named_network import PretrainedNetwork, pretrained_at
from crossreid.runs.other_data import OtherData
from crossreid.runs.pretrained import named_pretrained, network_recipe, pretrained_fingerprint
from crossreid.runs.recipe import Recipe
from crossreid.runs.scoring import Advance, reading
from crossreid.runs.stored_run import network_of, preprocessing_of, read_run, run_folder
from crossreid.runs.zero_shot import pretrained_folder


class _WithoutCameras(nn.Module):
    """A network without the cameras of images, like a gallery's model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.network.embed(images, modalities)  # type: ignore[operator,no-any-return]

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.network.features(images, modalities)  # type: ignore[operator,no-any-return]


@dataclass(frozen=True, eq=False, slots=True)
class Calibrated:
    """A calibration, the file that it was written to, and notes on what was decided."""

    calibration: Calibration
    file: Path
    notes: tuple[str, ...]


def calibrate(
    run: Path | str | PretrainedNetwork,
    *,
    on: Path | str | None = None,
    on_test: bool = False,
    method: str = "isotonic",
    prior: float | None = None,
    false_accept_rates: Sequence[float] = RATES,
    tracklets: bool = False,
    checkpoint: str = "best",
    out: Path | str | None = None,
    seed: int = 0,
    advance: Advance | None = None,
) -> Calibrated:
    """Turn a run's scores into probabilities and thresholds, from pairs of images that it was not trained on.

    Writes RUN/calibration.json; for a folder of stages that of the last student, for a network not trained here
    pretrained/NAME/DATA/calibration.json.

    Args:
        on: labelled images instead of the run's validation identities: a manifest, or a data set as NAME:ROOT.
        on_test: calibrate on the run's own test images.
        method: isotonic or platt.
        prior: the share of same-identity pairs that probabilities assume; by default that of the pairs.
        false_accept_rates: rates to compute thresholds for.
        tracklets: also calibrate tracklets against each other and against single images. In data without tracklets, an
            identity's images by one camera count as one.
        checkpoint: best or last.
        out: another folder to write to.
        seed: of the identity folds on which probabilities are measured.
        advance: called with (0, images) and then with the number of images as they are embedded.

    Raises:
        CrossreidError: no run, no images to calibrate on or too few, or an invalid argument.
    """
    if prior is not None:
        check_prior(prior)
    notes: list[str] = []
    named = run if isinstance(run, PretrainedNetwork) else pretrained_at(run)
    wanted = None if on is None else str(on)
    if named is not None:
        network, recipe, images, fingerprint, folder = _named(named, wanted, on_test)
    else:
        assert not isinstance(run, PretrainedNetwork)
        stored = read_run(Path(run), checkpoint)
        recipe, folder, fingerprint = stored.recipe, stored.folder, stored.fingerprint
        images = calibration_images(recipe, str(run), wanted, on_test)
        network = network_of(stored).eval()
    network = _WithoutCameras(network.cuda() if torch.cuda.is_available() else network)
    features = image_features(network, recipe, images, advance)
    options: dict[str, Any] = {"method": method, "rates": false_accept_rates, "seed": seed, "say": notes.append}
    sides = Sides(features, features, images.exclusion, images.junk)
    prior = share_of_same(sides, seed=seed) if prior is None else prior
    made = calibration_of(sides, prior=prior, open_set=images.open_set, **options)
    others: dict[str, Calibration] = {}
    if tracklets:
        others = _of_sets(network, recipe, images, features, prior, options, notes)
    facts = {**images.facts, "exclusion": calibrated_exclusion(images.exclusion).description}
    calibration = replace(made, fingerprint=fingerprint, data=facts, others=others)
    file = (Path(out) if out is not None else folder) / FILE
    write_json(file, to_json(calibration))
    if on_test:
        notes.append(
            "WARNING: calibrated on the run's test images; on these images the thresholds look better than they are."
        )
    return Calibrated(calibration, file, tuple(notes))


def read_calibration(path: Path | str) -> Calibration | None:
    """Read the calibration in a run's folder (for stages, the last student's) or in a file; None if there is none.

    Raises:
        DataError: the file is damaged or of another version.
        CrossreidError: a folder of trials.
    """
    path = Path(path)
    file = path if path.is_file() else run_folder(path) / FILE
    return read_file(file) if file.is_file() else None


def _named(
    named: PretrainedNetwork, on: str | None, on_test: bool
) -> tuple[nn.Module, Recipe, CalibrationImages, str, Path]:
    """Return a network that was not trained here, its recipe, the images, its fingerprint and its results folder."""
    if on is None or on_test:
        raise CrossreidError(
            f"{named.name} was not trained here and has no validation identities. Name labelled images: --on NAME:ROOT, or --on "
            "FILE.csv."
        )
    recipe = network_recipe(named)
    images = calibration_images(recipe, named.name, on, False)
    network = named_pretrained(named, recipe)
    place = OtherData(*(named_data(on) or ("manifest", Path(on))))
    folder = pretrained_folder(named, place.recipe(recipe))
    return network, recipe, images, pretrained_fingerprint(named, network, preprocessing_of(recipe)), folder


def _reading(recipe: Recipe) -> dict[str, Any]:
    """Return how images are read and embedded: as a gallery's model does."""
    return {**reading(recipe), "options": recipe.evaluation.model_copy(update={"unit_length": True})}


def image_features(network: nn.Module, recipe: Recipe, images: CalibrationImages, advance: Advance | None) -> Features:
    """Return the features of calibration images, from a network in evaluation mode."""
    records = images.records
    if advance is not None:
        advance(0, len(records))
    embeddings = embed(network, records, advance=advance, **_reading(recipe))
    return features_of(images.query, images.gallery, embeddings)


def _of_sets(
    network: nn.Module, recipe: Recipe, images: CalibrationImages, features: Features, prior: float, options: dict[str, Any],
    notes: list[str],
) -> dict[str, Calibration]:  # fmt: skip
    """Return the calibrations of tracklets against tracklets, and of tracklets against images of others."""
    records = images.records
    filmed = [record for record in records if record.tracklet is not None]
    members = {record: record for record in filmed}  # each image mapped to its record in a tracklet
    if not filmed:
        notes.append("the data have no tracklets: an identity's images by one camera count as one.")
        members = {record: replace(record, tracklet="of its camera") for record in records}
    role_of = images.roles()
    roles = {member: role_of[record] for record, member in members.items()}
    tracklets = tracklets_of(members.values())
    sets = features_of_tracklets(
        network, tracklets, [_common({roles[frame] for frame in tracklet.frames}) for tracklet in tracklets],
        frames=recipe.evaluation.frames, place=recipe.evaluation.frame, skip=recipe.data.on_bad_image == "skip",
        **_reading(recipe),
    )  # fmt: skip
    owners = [tracklet_name(members[record]) if record in members else "" for record in records]
    single = replace(features, tracklets=np.array(owners, dtype=np.str_))
    made: dict[str, Calibration] = {}
    kinds: tuple[tuple[Kind, Features, str], ...] = (
        ("sets", sets, "tracklets"),
        ("set-image", single, "tracklets with images"),
    )
    for kind, right, what in kinds:
        sides = Sides(sets, right, images.exclusion, images.junk)
        told = {**options, "say": partial(_note_of, notes, what)}
        made[kind] = calibration_of(sides, prior=prior, open_set=images.open_set, what=what, **told)
    return made


def _note_of(notes: list[str], what: str, line: str) -> None:
    notes.append(f"{what}: {line}")


def _common(roles: set[str]) -> str:
    """Return the role of a tracklet whose images have these roles."""
    return roles.pop() if len(roles) == 1 else "both"
