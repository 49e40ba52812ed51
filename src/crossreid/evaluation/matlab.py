"""Read and write SYSU-MM01's official layout of features, to exchange them with the authors' own code.

There is one file per camera, `NAME_camK.mat`, K = 1..6, with the variable `feature` (some releases: `feature_test`):
one cell per identity, whose number is the cell's index counted from 1; each cell has one row per image, in the order of
the file names, and is empty if the identity was not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from crossreid.data.matfile import read_variable
from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.draws import load_permutations
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.scores import Score
from crossreid.files import replacing

CELLS = 533  # identities of the whole data set, as the official files count them
INFRARED_CAMERAS = (3, 6)
_FILE = re.compile(r"(?P<name>.*)_cam(?P<camera>[1-6])\.mat")


def evaluate_sysu_features(
    features_dir: Path,
    splits_dir: Path,
    mode: str = "all",
    shots: int = 1,
    metric: str = "euclidean",
    *,
    draw: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Score:
    """Return the score of features in the official layout, in `mode` 'all' or 'indoor' with `shots` 1 or 10.

    `splits_dir` holds `test_id.mat` or `test_id.txt`, and `rand_perm_cam.mat`; without the latter the gallery is drawn
    with `seed`, and the score says so. Features are compared as they are. Errors as in `read_sysu_features`.
    """
    if mode not in ("all", "indoor"):
        raise CrossreidError(f"unknown search mode '{mode}'; choose one of: all, indoor.")
    if shots not in (1, 10):
        raise CrossreidError(f"expected 1 shot (single) or 10 (multi), found {shots}.")
    cameras = (1, 2, 3, 6) if mode == "indoor" else (1, 2, 3, 4, 5, 6)
    features = read_sysu_features(features_dir, splits_dir, cameras=cameras, name=name)
    path = Path(splits_dir) / "rand_perm_cam.mat"
    permutations = load_permutations(path) if path.is_file() and draw in (None, "official") else None
    setting = f"{mode}, {'single' if shots == 1 else 'multi'}-shot"
    return evaluate(
        features, "sysu-mm01", metric=metric, permutations=permutations, draw=draw, seed=seed, settings=[setting]
    )[0]


def read_sysu_features(
    directory: Path, splits: Path, *, cameras: Iterable[int] = (1, 2, 3, 4, 5, 6), name: str | None = None
) -> Features:
    """Return features of the test identities of `splits` (`test_id.mat` or `.txt`) in the given cameras.

    float64 if any file is, else float32. `name` picks one NAME if the directory holds several.
    Raises `DataError`, one line, for: no such directory, no or several NAMEs, a missing camera, a file of version 7.3,
    a missing variable, cells that are not matrices, different dimensions, NaN, no image of a test identity.
    """
    directory = Path(directory)
    identities = read_identities(splits, "test_id")
    wanted = sorted(set(cameras))
    files = _camera_files(directory, wanted, name)
    rows: list[tuple[int, int, np.ndarray]] = []
    width: tuple[int, str] | None = None
    for camera in wanted:
        path = files[camera]
        cells = read_variable(path, "feature", "feature_test")
        if cells.dtype != object or cells.size != max(cells.shape, default=0):
            raise DataError(
                f"{path}: expected a row or column of cells, one per identity, found {cells.dtype} {cells.shape}."
            )
        for identity in identities:
            cell = np.asarray(cells.ravel()[identity - 1]) if identity <= cells.size else np.empty((0, 0))
            if cell.size == 0:
                continue
            where = f"{path}: identity {identity}"
            if cell.ndim != 2 or cell.dtype.kind not in "fiu":
                raise DataError(f"{where}: expected a matrix with one row per image, found {cell.dtype} {cell.shape}.")
            width = width or (cell.shape[1], where)
            if cell.shape[1] != width[0]:
                raise DataError(
                    f"{where}: {cell.shape[1]} dimensions, but {width[0]} in {width[1]}; write all of them with one model."
                )
            bad = ~np.isfinite(cell).all(axis=1)
            if bad.any():
                raise DataError(f"{where}: NaN or infinity in row {int(bad.argmax()) + 1}; extract the feature again.")
            rows.append((identity, camera, cell))
    if not rows:
        raise DataError(
            f"{directory}: all cells of the {len(identities)} test identities are empty; "
            "expected features of the test set."
        )
    rows.sort(key=lambda row: row[:2])
    groups = [(str(identity), camera) for identity, camera, cell in rows for _ in range(len(cell))]
    single = all(cell.dtype == np.float32 for _, _, cell in rows)
    seen_by = np.array([camera for _, camera in groups], dtype=np.int64)
    infrared = np.isin(seen_by, INFRARED_CAMERAS)
    return Features(
        embeddings=np.concatenate([cell.astype(np.float32 if single else np.float64) for _, _, cell in rows]),
        identities=np.array([identity for identity, _ in groups], dtype=np.str_),
        cameras=seen_by,
        modalities=np.where(infrared, int(INFRARED), int(VISIBLE)),
        positions=positions_of(groups),
        names=np.full(len(groups), "", dtype=np.str_),
        roles=np.where(infrared, "query", "gallery"),
    )


def write_sysu_features(features: Features, directory: Path, name: str = "feature") -> list[Path]:
    """Write `NAME_camK.mat` for each camera 1 to 6, keeping values and type; `read_sysu_features` reads them back.

    Each file is complete under its name or does not exist. Raises `DataError` if an identity is not a number from 1, a
    camera is not 1 to 6, or images of an identity and camera are missing (a gap in positions).
    """
    directory = Path(directory)
    numbers = np.array([int(i) if i.isdecimal() else 0 for i in features.identities])
    for wrong, what, needed in (
        (numbers < 1, features.identities, "identities that are numbers from 1"),
        (~np.isin(features.cameras, range(1, 7)), features.cameras, "cameras 1 to 6"),
    ):
        if wrong.any():
            raise DataError(f"SYSU-MM01's layout needs {needed}, found {what[wrong][0]!s}.")
    count, width = max(CELLS, int(numbers.max())), features.embeddings.shape[1]
    contents = {}
    for camera in range(1, 7):
        cells = np.empty((count, 1), dtype=object)
        for row in range(count):
            cells[row, 0] = np.empty((0, width), dtype=features.embeddings.dtype)
        for number in np.unique(numbers[features.cameras == camera]):
            rows = np.flatnonzero((numbers == number) & (features.cameras == camera))
            rows = rows[np.argsort(features.positions[rows], kind="stable")]
            if not np.array_equal(features.positions[rows], np.arange(len(rows))):
                raise DataError(
                    f"camera {camera}, identity {number}: expected all of its images, found positions "
                    f"{features.positions[rows].tolist()}; embed the whole test set."
                )
            cells[number - 1, 0] = features.embeddings[rows]
        contents[camera] = cells
    from scipy.io import savemat  # imported here, as in `matfile`

    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for camera, cells in contents.items():
        path = directory / f"{name}_cam{camera}.mat"
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            savemat(stream, {"feature": cells})
        paths.append(path)
    return paths


def read_identities(splits: Path, stem: str) -> list[int]:
    """Return the identity numbers of `STEM.mat` (variable `id`) or `STEM.txt` (comma-separated), ascending."""
    splits = Path(splits)
    mat, text = splits / f"{stem}.mat", splits / f"{stem}.txt"
    if mat.is_file():
        values = read_variable(mat, "id", stem).ravel()
        numbers = [int(value) for value in values] if values.dtype.kind in "iuf" else []
        source = mat
    elif text.is_file():
        words = text.read_text(errors="replace").replace(",", " ").split()
        numbers = [int(word) for word in words] if all(word.isdecimal() for word in words) else []
        source = text
    else:
        raise DataError(
            f"{splits}: neither {stem}.mat nor {stem}.txt found; give the directory of the official splits."
        )
    if not numbers or min(numbers) < 1:
        raise DataError(f"{source}: expected identity numbers from 1; download the official file again.")
    return sorted(set(numbers))


def _camera_files(directory: Path, cameras: list[int], name: str | None) -> dict[int, Path]:
    if not directory.is_dir():
        raise DataError(f"{directory} is not a directory; expected one with NAME_cam1.mat to NAME_cam6.mat.")
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(directory.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match and not path.name.startswith("."):
            found.setdefault(match["name"], {})[int(match["camera"])] = path
    if name is None and len(found) > 1:
        raise DataError(
            f"{directory} holds features of several names ({', '.join(found)}); give a name, or use a directory for each."
        )
    if not found or (name is not None and name not in found):
        raise DataError(
            f"{directory}: expected {name or 'NAME'}_camK.mat for K = {', '.join(map(str, cameras))}, "
            f"found: {', '.join(f'{n}_cam*.mat' for n in found) or 'none'}."
        )
    chosen = name if name is not None else next(iter(found))
    missing = [camera for camera in cameras if camera not in found[chosen]]
    if missing:
        files = ", ".join(f"{chosen}_cam{camera}.mat" for camera in missing)
        raise DataError(f"{directory}: {files} not found; this search needs cameras {', '.join(map(str, cameras))}.")
    return found[chosen]
