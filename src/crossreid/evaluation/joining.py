"""Join two files: who is query and who gallery, which numbers are cameras, which queries are also in the gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crossreid.data.records import DataError, Modality
from crossreid.evaluation.arrays import UNKNOWN, Side
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.protocols import PROTOCOLS, Protocol
from crossreid.evaluation.sides import rows_by_role

Say = Callable[[str], object]
BOTH_SIDES = "is used for both sides"
_HASHED = 1 << 22  # embedding values hashed at a time


def join(
    query: Side, gallery: Side, protocol: str, *, leave_self_out: bool = False, say: Say = lambda line: None
) -> Features:
    """Return the features of both sides, queries first, each side in its file's order, by which ties are broken.

    If a file names its queries, only those query, and likewise for the gallery. An image that is on both sides under
    one name does not find itself. If modalities are not given, the sides get those that the protocol's first setting
    names, or visible.

    Args:
        leave_self_out: also ignore gallery entries with the query's identity and identical embedding.
        say: called with lines on how the input was interpreted, and on what makes scores less reliable.

    Raises:
        DataError: dimensions differ, or a file lacks what the protocol needs.
    """
    if protocol not in PROTOCOLS:
        raise DataError(f"unknown protocol '{protocol}'; choose one of: {', '.join(PROTOCOLS)}.")
    plan = PROTOCOLS[protocol]
    for note in dict.fromkeys((*query.notes, *gallery.notes)):
        say(note)
    dimensions = query.embeddings.shape[1], gallery.embeddings.shape[1]
    if dimensions[0] != dimensions[1]:
        raise DataError(
            f"{query.source} has {dimensions[0]} dimensions and {gallery.source} {dimensions[1]}; embed both with one model."
        )
    one = query.roles is not None and query.source.resolve() == gallery.source.resolve()
    if one:
        say(f"{query.source} {BOTH_SIDES}; its roles say which rows are queries.")
        sides: tuple[Side, ...] = _numbered((query,), plan, say)
    else:
        sides = _numbered((_by_role(query, "query", say), _by_role(gallery, "gallery", say)), plan, say)
    for side in sides:
        _require(side, plan, say)
    first = plan.settings[0]
    assumed = (first.query or Modality.VISIBLE, first.gallery or Modality.VISIBLE)
    if first.query is not None and any(side.modalities is None for side in sides):
        taken = f"queries are taken as {assumed[0].name.lower()}, the gallery as {assumed[1].name.lower()}"
        if one:
            raise DataError(f"{query.source}: {protocol} needs modalities, which the file does not have.")
        say(f"modalities are not given: {taken}.")
    identities = np.concatenate([side.identities for side in sides])
    cameras = _together(sides, "cameras", (UNKNOWN, UNKNOWN))
    lengths = [len(side) for side in sides]
    features = Features(
        embeddings=np.concatenate([side.embeddings for side in sides]),
        identities=identities,
        cameras=np.where(cameras == UNKNOWN, 0, cameras),
        modalities=_together(sides, "modalities", (int(assumed[0]), int(assumed[1]))),
        positions=positions_of(list(zip(identities.tolist(), cameras.tolist(), strict=True))),
        names=_together(sides, "names", ("", "")),
        roles=np.repeat(["query", "gallery"], lengths) if query.roles is None or not one else query.roles,
        frames=_together(sides, "frames", (UNKNOWN, UNKNOWN)),
        tracklets=_together(sides, "tracklets", ("", "")),
    )
    return features if one else _without_selves(features, plan, leave_self_out, say)


def _together(sides: Sequence[Side], name: str, missing: tuple[int, int] | tuple[str, str]) -> np.ndarray:
    parts = [
        np.full(len(side), other) if getattr(side, name) is None else getattr(side, name)
        for side, other in zip(sides, missing, strict=False)  # one file may be both sides
    ]
    return np.concatenate(parts)


def _by_role(side: Side, role: str, say: Say) -> Side:
    """Return the rows that a file's roles put on this side; all rows if it has no roles."""
    if side.roles is None:
        return side
    modalities = np.zeros(len(side)) if side.modalities is None else side.modalities
    mask = rows_by_role(side.roles, modalities)[role == "gallery"]
    if not mask.any():
        raise DataError(
            f"{side.source}: none of its {len(side)} rows has the role {role} or both; it cannot be the {role} side."
        )
    if not mask.all():
        say(
            f"{side.source}: {np.count_nonzero(mask)} of {len(side)} rows are used, those with the role {role} or both."
        )
    names = ("cameras", "modalities", "frames", "names", "roles", "tracklets", "boxes")
    kept: dict[str, Any] = {name: None if (values := getattr(side, name)) is None else values[mask] for name in names}
    return replace(side, embeddings=side.embeddings[mask], identities=side.identities[mask], **kept)


def _numbered(sides: tuple[Side, ...], plan: Protocol, say: Say) -> tuple[Side, ...]:
    """Return the sides with cameras counted from 1, as elsewhere here: 0 is a camera if other numbers occur with it."""
    known = [np.unique(s.cameras[s.cameras != UNKNOWN]) if s.cameras is not None else np.zeros(0, int) for s in sides]
    numbers = np.unique(np.concatenate(known))
    if not len(numbers) or numbers[0] != 0:
        return sides
    files = " and ".join(dict.fromkeys(str(s.source) for s, own in zip(sides, known, strict=True) if 0 in own))
    if len(numbers) == 1:
        say(f"{files}: every camera is 0, so cameras are taken as unknown.")
        return tuple(replace(s, cameras=None) for s in sides)
    numbered = plan.camera_numbers
    if numbered and numbers[-1] >= numbered[-1]:
        raise DataError(
            f"{files}: cameras are {_some(numbers)}, but {plan.name} has {_some(np.array(numbered))}. If 0 means unknown, leave "
            f"the cell empty or write -1; if cameras count from 0, {numbers[-1]} is one too many."
        )
    counted = " Camera 0 is the protocol's camera 1, and so on." if numbered else ""
    say(
        f"{files}: camera 0 occurs with {_some(numbers[1:])} and is taken as a camera, not as unknown.{counted} If a camera "
        "is unknown, leave the cell empty or write -1."
    )
    return tuple(
        s if s.cameras is None else replace(s, cameras=np.where(s.cameras == UNKNOWN, UNKNOWN, s.cameras + 1))
        for s in sides
    )


def _some(numbers: np.ndarray) -> str:
    shown = [str(number) for number in numbers[:6]]
    return ", ".join(shown) + (f" ... {numbers[-1]}" if len(numbers) > 6 else "")


def _require(side: Side, plan: Protocol, say: Say) -> None:
    for name in plan.needs:
        values = getattr(side, name)
        if values is None or (values == UNKNOWN).all():
            why = "which the file does not have" if values is None else "which are all unknown"
            other = " `cross-modal` does not need them." if name == "cameras" else ""
            raise DataError(f"{side.source}: {plan.name} needs {name}, {why}.{other}")
        missing = np.count_nonzero(values == UNKNOWN)
        if missing:
            say(
                f"{side.source}: {missing} of {len(side)} {name} are unknown; the exclusion rule does not apply to them."
            )


def _without_selves(features: Features, plan: Protocol, leave_self_out: bool, say: Say) -> Features:
    """Return features in which a query shares a tracklet with its own copy in the gallery, so that it is left out."""
    assert features.tracklets is not None
    codes, queries = _codes(features), features.roles == "query"
    equal: dict[int, list[int]] = {}
    for row in np.flatnonzero(~queries & np.isin(codes, codes[queries])):
        equal.setdefault(int(codes[row]), []).append(int(row))
    films, left, finding = features.tracklets.astype(object), 0, 0
    for asking in map(int, np.flatnonzero(queries & np.isin(codes, list(equal)))):
        name, entries = features.names[asking], equal[int(codes[asking])]
        film = films[asking] or f"itself: {codes[asking]} {'' if leave_self_out else name}"
        itself = [
            entry
            for entry in entries
            if (leave_self_out or (name and features.names[entry] == name)) and films[entry] in ("", film)
        ]
        if itself:
            films[np.array([asking, *itself])] = film
            left += 1
        rest = [entry for entry in entries if entry not in itself]
        finding += any(films[entry] != film and not _excluded(features, plan, asking, entry) for entry in rest)
    if left:
        say(f"{left} of {np.count_nonzero(queries)} queries are also in the gallery and do not find themselves.")
    if finding:
        say(
            f"WARNING: {finding} of {np.count_nonzero(queries)} queries have the same embedding as a gallery entry of their "
            "identity and find themselves, as with any model. --leave-self-out ignores such entries."
        )
    return replace(features, tracklets=films.astype(np.str_)) if left else features


def _excluded(features: Features, plan: Protocol, query: int, entry: int) -> bool:
    """Return whether the protocol leaves out a gallery entry of the query's identity anyway."""
    rule, cameras, frames = plan.exclusion, features.cameras, features.frames
    assert frames is not None
    near = rule.frames is None or abs(int(frames[query]) - int(frames[entry])) <= rule.frames
    same = bool(cameras[query] == cameras[entry]) and bool(cameras[query] > 0)
    return same and (rule.camera or (rule.identity_and_camera and near))


def _codes(features: Features) -> np.ndarray:
    """Return `(N,)` uint64, equal if identity and embedding are bit-identical, otherwise almost certainly different."""
    values = np.ascontiguousarray(features.embeddings)
    words = values.view(np.uint32 if values.dtype == np.float32 else np.uint64)
    weights = np.random.default_rng(0).integers(1, 1 << 62, words.shape[1] + 1, dtype=np.uint64) | np.uint64(1)
    step = max(1, _HASHED // words.shape[1])
    parts = [(words[at : at + step] * weights[:-1]).sum(axis=1) for at in range(0, len(words), step)]
    _, names = np.unique(features.identities, return_inverse=True)
    return np.concatenate(parts) + names.reshape(-1).astype(np.uint64) * weights[-1]
