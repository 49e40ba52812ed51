"""Which runs have the same test (same images, same rules), so that their scores may be compared; if not, why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from crossreid.evaluation.features import Features
from crossreid.evaluation.scores import Score
from crossreid.runs.run import Run

# What two scores of one setting must agree in. The metric and the re-ranking are part of what is compared.
RULES = {
    "exclusion": "exclusion",
    "counting": "CMC counts",
    "gallery_draw": "gallery",
    "average_precision": "average precision by",
}


def test_key(run: Run, features: Features) -> str:
    """Return a key that is equal for runs tested on the same images in the same roles, wherever their copies are stored."""
    digest = hashlib.sha256(run.split.protocol.encode())
    root = f"{run.split.root.as_posix().rstrip('/')}/"
    names = np.array([name.removeprefix(root) for name in features.names.tolist()], dtype=np.str_)
    for values in (features.identities, features.cameras, features.modalities, features.roles, names):
        digest.update("\0".join(map(str, values.tolist())).encode(errors="surrogateescape"))
        digest.update(b"\1")
    return digest.hexdigest()


def tested_on(run: Run, features: Features) -> str:
    """Describe what a run was tested on."""
    query, gallery = (np.isin(features.roles, (side, "both")).sum() for side in ("query", "gallery"))
    people = len(np.unique(features.identities))
    return (
        f"{run.split.name} at {run.split.root}, protocol {run.split.protocol}, {query:,} query and {gallery:,} gallery images of "
        f"{people:,} identities"
    )


def what_differs(
    first: tuple[Run, Features, Sequence[Score]], other: tuple[Run, Features, Sequence[Score]]
) -> list[str]:
    """Return lines on how the tests of two runs differ; none if they were tested alike."""
    (one, own, scores), (two, theirs, others) = first, other
    if test_key(one, own) != test_key(two, theirs):
        lines = [f"{run.folder} on {tested_on(run, found)}" for run, found in ((one, own), (two, theirs))]
        mine, yours = one.recipe.data.options, two.recipe.data.options
        same = one.recipe.data.name == two.recipe.data.name
        keys = [key for key in dict.fromkeys((*mine, *yours)) if same and mine.get(key) != yours.get(key)]
        options = ", ".join(f"data.options.{key} {mine.get(key)!r} / {yours.get(key)!r}" for key in keys)
        return [f"different test images: {'; '.join(lines)}" + (f"; {options}" if options else "")]
    lines = []
    for score in scores:
        match = next((s for s in others if (s.setting, s.re_ranked) == (score.setting, score.re_ranked)), None)
        if match is not None:
            lines += rules_differ(score, match)
    return list(dict.fromkeys(lines))


def rules_differ(one: Score, two: Score) -> list[str]:
    """Return the rules in which two scores of one setting differ, each with both values."""
    found = {said: (getattr(one, name), getattr(two, name)) for name, said in RULES.items()}
    found["trials"] = (len(one.trials), len(two.trials))
    return [f"{one.setting}: {said} {mine} / {yours}" for said, (mine, yours) in found.items() if mine != yours]
