"""MindSpore's checkpoint files: weights under MindSpore's names, and as the entry `crossreid` JSON that says of what.

The entry has: format, recipe, classes (training identities), preprocessing, flip, epoch, step and version; of an export also
method, fingerprint and dimension, and `trained` where the run was not finished.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import crossreid
from crossreid.errors import CrossreidError
from crossreid.files import replacing
from crossreid.runs.recipe import Recipe, make_recipe
from crossreid.runs.stored_run import preprocessing_of

KEY, FORMAT, SUFFIX = "crossreid", "crossreid-mindspore-1", ".ckpt"


def write_checkpoint(path: Path, cell: Any, recipe: Recipe, classes: int, facts: Mapping[str, Any]) -> None:
    """Write the parameters of `cell` to `path`, whole or not at all.

    Args:
        classes: training identities of the network.
        facts: of a checkpoint or an export; what of them the entry has is kept.
    """
    with replacing(path, durable=True) as temporary:
        save_cell(temporary, cell, recipe, classes, facts)


def save_cell(path: Path, cell: Any, recipe: Recipe, classes: int, facts: Mapping[str, Any]) -> None:
    """Write the file at `path` itself; for a caller that looks at it before it has its name."""
    import mindspore

    kept = ("epoch", "step", "method", "fingerprint", "dimension", "trained")
    entry = {
        "format": FORMAT,
        "recipe": recipe.model_dump(mode="json"),
        "classes": classes,
        "preprocessing": preprocessing_of(recipe).to_json(),
        "flip": recipe.evaluation.flip,
        "version": crossreid.__version__,
        **{key: facts[key] for key in kept if facts.get(key) not in (None, "")},
    }
    path.touch()
    mode = path.stat().st_mode  # as of any other file; MindSpore makes its own read-only
    mindspore.save_checkpoint(cell, str(path), append_dict={KEY: json.dumps(entry)})
    os.chmod(path, mode)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The parameters of a MindSpore checkpoint by their names, and its entry; None where it is another program's.

    Raises:
        CrossreidError: it is missing, damaged or no checkpoint.
    """
    import mindspore

    if not path.is_file():
        raise CrossreidError(f"{path} not found. Expected a MindSpore checkpoint, FILE{SUFFIX}.")
    if path.suffix != SUFFIX:
        raise CrossreidError(f"{path}: expected a MindSpore checkpoint, whose name ends in {SUFFIX}.")
    try:
        with _silence():
            found = dict(mindspore.load_checkpoint(str(path)))
    except Exception as error:  # of many kinds, for one reason
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CrossreidError(f"{path} is not a MindSpore checkpoint, or is damaged ({reason}).") from error
    said = found.pop(KEY, None)
    if said is None:
        return found, None
    try:
        entry = json.loads(str(said))
        if entry["format"] != FORMAT:
            raise CrossreidError(f"{path} is of another version: {entry['format']!r}, expected {FORMAT!r}.")
        make_recipe(entry["recipe"], source=str(path))
        int(entry["classes"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CrossreidError(f"{path}: its entry {KEY!r} is damaged. Export it again.") from error
    return found, entry


def load_parameters(cell: Any, parameters: dict[str, Any], path: Path) -> None:
    """Load what a checkpoint holds into a cell.

    Raises:
        CrossreidError: names or shapes are not those of the cell; the first few are named.
    """
    import mindspore

    own = {parameter.name: tuple(parameter.shape) for parameter in cell.get_parameters()}
    wrong = [f"{name} missing" for name in own.keys() - parameters.keys()]
    wrong += [f"{name} unknown" for name in parameters.keys() - own.keys()]
    wrong += [
        f"{name}: expected {own[name]}, found {tuple(parameters[name].shape)}"
        for name in own.keys() & parameters.keys()
        if own[name] != tuple(parameters[name].shape)
    ]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CrossreidError(f"{path} does not fit the network of its recipe: {'; '.join(sorted(wrong)[:3])}{more}.")
    mindspore.load_param_into_net(cell, parameters)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What MindSpore logs of a file that it cannot read goes nowhere: the error says it."""
    import logging

    log = logging.getLogger("MindSpore")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
