"""Recognise the arrays of a file: the names that tools use for embeddings, identities, cameras and so on.

Case, separators and a prefix `query` or `gallery` do not matter. An array with this project's own name is taken as
that; one that another name identifies uniquely is taken as that and reported; two candidates for one array are an
error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from crossreid.data.records import DataError

# For each array: its name as a column, then the other names that it may have.
ARRAYS: dict[str, tuple[str, ...]] = {
    "embeddings": (
        "embedding", "embs", "emb", "features", "feature", "feats", "feat", "qf", "gf", "queryf", "galleryf", "vectors",
        "vector", "descriptors",
    ),
    "identities": (
        "identity", "ids", "id", "pids", "pid", "personids", "personid", "vids", "vid", "vehicleids", "vehicleid", "labels",
        "label", "targets",
    ),
    "cameras": ("camera", "cams", "cam", "camids", "camid", "cameraids", "cameraid", "camlabels", "camlabel"),
    "modalities": ("modality", "modals", "modal", "modalityids"),
    "frames": ("frame", "frameids", "frameid", "framenumbers"),
    "names": (
        "name", "paths", "path", "files", "file", "filenames", "filename", "imagepaths", "imagepath", "imgpaths", "imgpath",
    ),
    "roles": ("role",),
    "tracklets": ("tracklet", "trackletids", "trackletid", "tracks", "track", "trackids", "trackid"),
}  # fmt: skip
_MEANT = {other: name for name, others in ARRAYS.items() for other in (name, *others)}
_SIDE = re.compile(r"^(?:(?:query|gallery)[\W_]*|[qg][\W_]+)(?=.)")
_ALSO_OURS = ("positions",)  # in a run's features; it follows from the other arrays


def meant_by(name: str) -> str | None:
    """Return the array that a name stands for; None if it stands for none."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    return _MEANT.get(plain) or _MEANT.get(re.sub(r"[\W_]+", "", _SIDE.sub("", name.lower())))


def resolve(found: Iterable[str], source: object, *, columns: bool = False) -> tuple[dict[str, str], list[str]]:
    """Return each array's name in the file, and lines on what was mapped and what is not used.

    Args:
        source: the file, for messages.
        columns: the names are columns of a table, which are in the singular.

    Raises:
        DataError: two names could be the same array, or a name is close to that of a missing array.
    """
    found = list(found)
    own = {(others[0] if columns else name): name for name, others in ARRAYS.items()}
    chosen = {own[name]: name for name in found if name in own}
    others: dict[str, list[str]] = {}
    for name in found:
        if name not in own and (array := meant_by(name)) is not None:
            others.setdefault(array, []).append(name)
    said, unused = [], [name for name in found if meant_by(name) is None and name not in _ALSO_OURS]
    for array, names in others.items():
        if array in chosen:
            unused += names
        elif len(names) > 1:
            raise DataError(
                f"{source}: {' and '.join(names)} could each be {array}. Rename the right one to {own_name(array, columns)}."
            )
        else:
            chosen[array] = names[0]
            said.append(f"{source}: {names[0]} is taken as {array}.")
    for name in unused:
        near = nearest(name)
        if near is not None and near not in chosen:
            raise DataError(
                f"{source}: {name} is unknown; did you mean {own_name(near, columns)}? Rename or remove it."
            )
    if unused:
        said.append(f"{source}: not used: {', '.join(map(_with_nearest, unused))}.")
    return chosen, said


def own_name(array: str, columns: bool) -> str:
    """Return this project's name of an array, or of its column in a table."""
    return ARRAYS[array][0] if columns else array


def nearest(name: str) -> str | None:
    """Return the array whose name is nearest to an unknown one."""
    close = get_close_matches(re.sub(r"[\W_]+", "", name.lower()), list(_MEANT), n=1, cutoff=0.75)
    return _MEANT[close[0]] if close else None


def listed(found: Sequence[str]) -> str:
    """List names for a message, each with the array that it stands for or is nearest to, if named differently."""
    return ", ".join(map(_with_nearest, sorted(found))) or "nothing"


def _with_nearest(name: str) -> str:
    near = meant_by(name) or nearest(name)
    return name if near is None or near == name else f"{name} (nearest: {near})"
