"""What runs encode of the factors of images: probe every run on a rendered world that none of them was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from torch import nn

from crossreid.analysis.factors import GROUPS, Factors, read_factors
from crossreid.analysis.probes import Reading, read_all
from crossreid.data.records import DataError, Split
from crossreid.evaluation.embedding import observe
from crossreid.files import read_json, write_json
from crossreid.runs.floors import pretrained_of, untrained_of
from crossreid.runs.folders import seeds_of, titles_of
from crossreid.runs.named_network import NOT_TRAINED
from crossreid.runs.recipe import recipe_of_run
from crossreid.runs.run import fresh_method, is_synthetic, open_run
from crossreid.runs.scoring import reading
from crossreid.terminal import tracked

UNTRAINED = "untrained"


def probe_runs(
    folders: Sequence[Path],
    out: Path,
    *,
    world: Path | None = None,
    untrained: bool = False,
    jobs: int = 1,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Probe every factor of every run, and write the table to `out`/probes.json.

    Args:
        folders: runs, or folders of seed-* runs, whose spread is then the uncertainty.
        world: a rendered world; that of the runs if None. People that a run was trained on are left out.
        untrained: also probe the first networks with random weights and, if training starts from others, with these.
        jobs: runs in parallel. Existing results for the same weights and world are not computed again.

    Raises:
        DataError: no such world, or too few people in it were not trained on.
        CrossreidError: a folder has no runs, or a run's method has no branches.
    """
    named = {folder: seeds_of(folder) for folder in folders}
    titles = titles_of(folders)
    tasks = [(titles[folder], run, world, "") for folder, runs in named.items() for run in runs]
    if untrained:
        first = named[folders[0]]
        if pretrained_of(recipe_of_run(first[0]), say) is not None:
            tasks += [(NOT_TRAINED, run, world, "pretrained") for run in first]
        tasks += [(UNTRAINED, run, world, UNTRAINED) for run in first]
    say(f"probing {len(tasks)} networks ...")
    results = Parallel(jobs, return_as="generator")(
        delayed(readings_of)(run, where, before) for _, run, where, before in tasks
    )
    found = list(tracked(results, "networks", len(tasks)))
    rows: dict[str, list[list[Reading]]] = {}
    for (title, *_), readings in zip(tasks, found, strict=True):
        rows.setdefault(title, []).append(readings)
    table = {
        "world": (world or Path("of each run")).name,
        "methods": [{"name": title, "runs": len(each), "groups": summed(each)} for title, each in rows.items()],
        "readings": {title: [[r.to_json() for r in one] for one in each] for title, each in rows.items()},
    }
    write_json(out / "probes.json", table)
    return table


def readings_of(folder: Path, world: Path | None, before: str = "") -> list[Reading]:
    """Return all readings of one run, or of its network `before` training: `untrained`, with random weights, or
    `pretrained`, with those that its backbone starts from. They are stored beside the run's weights."""
    run = open_run(folder)
    world = world or run.split.root
    factors = unseen(read_factors(world), run.split)
    kept = folder / f"probes-{world.resolve().name}{f'-{before}' if before else ''}.json"
    newest = max(path.stat().st_mtime for path in folder.glob("*.safetensors"))
    content = hashlib.sha256((world / "factors.csv").read_bytes()).hexdigest()  # a world may be rendered again
    about: dict[str, Any] = {"images": len(factors.records), "people": len(factors.people()), "factors": content}
    if before:  # in earlier versions, untrained meant the weights that training starts from
        about["weights"] = run.recipe.method.encoder.weights if before == "pretrained" else "none"
    if kept.is_file() and kept.stat().st_mtime >= newest:
        stored = read_json(kept)
        if stored.get("about") == about:
            return [Reading(**row) for row in stored["readings"]]
    method: nn.Module = run.method
    if before:
        method = (
            untrained_of(run.recipe, run.split) if before == UNTRAINED else fresh_method(run.recipe, run.split).eval()
        )
    readings = read_all(observe(method, factors.records, **reading(run.recipe)), factors)
    write_json(kept, {"about": about, "readings": [one.to_json() for one in readings]})
    return readings


def unseen(factors: Factors, split: Split) -> Factors:
    """Return the images of people that `split` does not train on, whatever their names in this world.

    Raises:
        DataError: nobody is left.
    """
    if not is_synthetic(split.root):
        return factors
    own = read_factors(split.root)
    everyone, paths = own.people(), {record.path for record in split.train}
    trained = {everyone[record.identity] for record in own.records if record.path in paths}
    people = factors.people()
    keep = np.array([people[identity] not in trained for identity in factors.identities.tolist()])
    if not keep.any():
        raise DataError(
            "everyone in this world was used for training. Render another: `crossreid synth` with another --seed."
        )
    return factors.take(keep)


def summed(runs: Sequence[Sequence[Reading]]) -> list[dict[str, Any]]:
    """Return, per stream, space, probe and group, the mean share over its factors, one per run, and what it was read
    from.

    View-specific factors count where they are visible; `hidden` is what is read of them where they are not, which must
    be near 0.
    """
    rows: dict[tuple[str, ...], list[list[float]]] = {}
    for run, readings in enumerate(runs):
        for one in readings:
            group = one.group
            if group.endswith("-only") and not group.startswith(one.modality):
                group = f"hidden {group}"
            values = rows.setdefault((one.stream, one.space, one.probe, group), [[] for _ in runs])
            values[run].append(one.share)
    return [
        {"stream": stream, "space": space, "probe": probe, "group": group,
         "kind": GROUPS.get(group, "control"), "shares": [float(np.mean(part)) for part in values if part]}
        for (stream, space, probe, group), values in rows.items()
    ]  # fmt: skip
