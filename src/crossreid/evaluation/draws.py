"""How a protocol draws its gallery: official permutations, a seeded draw, or the draw of much public code.

A draw picks a few images of each (identity, camera) group; a group is the rows of `Features` of that identity and
camera on the gallery side, in canonical path order. The name of the draw is printed with every score.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossreid.data.matfile import read_variable
from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import Features

DRAWS = ("official", "seeded", "random-choice")


@dataclass(frozen=True)
class Permutations:
    """SYSU-MM01's `rand_perm_cam`: (camera, identity number) -> `(trials, n)` int64 of 1-based image numbers.

    `source` names the file in messages.
    """

    orders: Mapping[tuple[int, int], np.ndarray]
    source: str = "rand_perm_cam.mat"

    def order(self, camera: int, identity: str, trial: int, images: int) -> np.ndarray:
        """Return the 0-based order `(images,)` of the images of one identity and camera in one trial (0-based).

        Raises `DataError` if the identity is not a number, the permutation is for another number of images, or there
        are fewer trials.
        """
        number = int(identity) if identity.isdecimal() else -1
        known = self.orders.get((camera, number))
        listed = 0 if known is None else known.shape[1]
        if listed != images:
            raise DataError(
                f"{self.source}: the permutation of camera {camera}, identity {identity} is for {listed} images, but "
                f"there are {images}; use the official images, or draw the gallery with a seed instead."
            )
        if known is None or images == 0:
            return np.empty(0, dtype=np.int64)
        if trial >= len(known):
            raise DataError(f"{self.source} holds {len(known)} trials; trial {trial + 1} was requested.")
        return known[trial] - 1


def load_permutations(path: Path) -> Permutations:
    """Read `rand_perm_cam.mat`: one cell per camera, in it one cell per identity, in it trials x images.

    Raises `DataError` naming the file, camera and identity if a row is not a permutation of 1..n.
    """
    path = Path(path)
    cameras = read_variable(path, "rand_perm_cam")
    if cameras.dtype != object:
        raise DataError(
            f"{path}: expected rand_perm_cam with one cell per camera, found {cameras.dtype} {cameras.shape}."
        )
    orders = {}
    for camera, cells in enumerate(cameras.ravel(), start=1):
        if not isinstance(cells, np.ndarray) or cells.dtype != object:
            raise DataError(f"{path}: expected camera {camera} with one cell per identity; found something else.")
        for identity, order in enumerate(cells.ravel(), start=1):
            order = np.asarray(order)
            if order.size == 0:
                continue
            counted = np.arange(1, order.shape[-1] + 1)
            if order.ndim != 2 or not (np.sort(order, axis=1) == counted).all():
                raise DataError(
                    f"{path}: camera {camera}, identity {identity}: expected trials x images, each row a permutation "
                    f"of 1 to {order.shape[-1]}; download the official file again."
                )
            orders[camera, identity] = order.astype(np.int64)
    return Permutations(orders, str(path.name))


def check_against(permutations: Permutations, features: Features, cameras: Sequence[int]) -> None:
    """Raise `DataError` unless each identity of the features has as many images in each camera as its permutation.

    A camera that is not in the file is not checked.
    """
    listed = {camera for camera, _ in permutations.orders}
    groups = groups_of(features, np.flatnonzero(np.isin(features.cameras, list(cameras))))
    for identity in dict.fromkeys(features.identities.tolist()):
        for camera in sorted(listed.intersection(cameras)):
            permutations.order(camera, identity, 0, len(groups.get((identity, camera), ())))


def draw_name(draw: str, seed: int) -> str:
    """Return the text that is stored with a score."""
    return {
        "official": "official permutations",
        "seeded": f"seeded draw (seed {seed})",
        "random-choice": "random.choice after random.seed(trial)",
    }[draw]


def groups_of(features: Features, rows: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
    """Map (identity, camera) to its rows, by position; identities in canonical order, then cameras ascending."""
    if not len(rows):
        return {}
    names, cameras = features.identities[rows], features.cameras[rows]
    order = np.lexsort((features.positions[rows], cameras, names))
    new = np.flatnonzero((names[order][1:] != names[order][:-1]) | (cameras[order][1:] != cameras[order][:-1])) + 1
    groups = {(str(names[part[0]]), int(cameras[part[0]])): rows[part] for part in np.split(order, new)}
    ranked = sorted(groups, key=lambda group: (*identity_order(group[0]), group[1]))
    return {group: groups[group] for group in ranked}


def identity_order(identity: str) -> tuple[int, int, str]:
    """Return a sorting key: whole numbers as numbers, before all other identities."""
    return (0, int(identity), identity) if identity.isdecimal() else (1, -1, identity)


def draw_gallery(
    groups: Mapping[tuple[str, int], np.ndarray],
    draw: str,
    shots: int,
    trial: int,
    *,
    seed: int = 0,
    cameras: Sequence[int] | None = None,
    permutations: Permutations | None = None,
) -> np.ndarray:
    """Return the rows of one trial's gallery: up to `shots` images per group of the given cameras (None: all).

    * 'official': the first ones of the trial's permutation; ordered by camera, then identity, then
      permutation, as in SYSU-MM01's evaluation.
    * 'seeded': the first ones of a permutation drawn from (seed, trial, camera, identity) only, so that a group's draw
      does not depend on other groups; the same order.
    * 'random-choice': Python's `random.seed(trial)`, then one `random.choice` (for several shots `random.sample`, which
      that code takes from an unseeded generator) per group, by identity and then camera, which is also the order.

    Raises `CrossreidError` for an unknown draw, `DataError` if the permutations are missing or do not fit.
    """
    if draw not in DRAWS:
        raise CrossreidError(f"unknown gallery draw '{draw}'; choose one of: {', '.join(DRAWS)}.")
    if draw == "official" and permutations is None:
        raise DataError("the official gallery draw needs rand_perm_cam.mat; give it, or draw with a seed instead.")
    chosen = [group for group in groups if cameras is None or group[1] in cameras]
    if draw == "random-choice":
        generator = random.Random(trial)
        picked = []
        for group in chosen:
            rows = groups[group].tolist()
            picked += [generator.choice(rows)] if shots == 1 else generator.sample(rows, min(shots, len(rows)))
        return np.array(picked, dtype=np.int64)
    drawn = []
    for identity, camera in sorted(chosen, key=lambda group: group[1]):
        rows = groups[identity, camera]
        if permutations is not None and draw == "official":
            order = permutations.order(camera, identity, trial, len(rows))
        else:
            order = _seeded_order(seed, trial, camera, identity, len(rows))
        drawn.append(rows[order[:shots]])
    return np.concatenate(drawn) if drawn else np.empty(0, dtype=np.int64)


@functools.lru_cache(maxsize=1 << 16)
def _seeded_order(seed: int, trial: int, camera: int, identity: str, images: int) -> np.ndarray:
    """Cached, because settings of a protocol draw from the same group and trial, and creating a generator is slow."""
    return np.random.default_rng([seed, trial, camera, *identity.encode()]).permutation(images)
