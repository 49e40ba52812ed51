"""Fine-tuning: start a run from the weights of another one, of any method on the same backbone, or from a weights file.

What was taken is printed, and stored in the run's `start.json` with the fingerprint of the model that it started from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from crossreid.data.records import Split
from crossreid.data.sources import same_identities
from crossreid.errors import CrossreidError
from crossreid.files import read_json, sha256_of
from crossreid.losses.weighing import is_state_of_losses
from crossreid.methods import build_method, with_encoder, without_download
from crossreid.methods.method import Method
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.domain_norm import MEAN_OF_DOMAINS, adopt_domains
from crossreid.models.lora import merged
from crossreid.models.side_information import CAMERAS
from crossreid.runs.earlier import as_it_was
from crossreid.runs.folders import weights_folder
from crossreid.runs.recipe import Recipe, make_recipe, recipe_of_run
from crossreid.runs.run import checkpoint_of, fresh_method, method_of_weights
from crossreid.runs.start_weights import Taken, in_short, refuse_another_backbone, taken_from
from crossreid.runs.stored_run import fingerprint_of_file, run_folder
from crossreid.training.checkpoint import FORMAT, Checkpoint, fit_weights, read_weights

START, RECIPE = "start.json", "recipe.yaml"


@dataclass(frozen=True, slots=True)
class Started:
    """What a run started from: a line to print, and the content of its start.json."""

    text: str
    facts: dict[str, Any] = field(default_factory=dict)


def started_method(recipe: Recipe, split: Split) -> tuple[Method, Started | None]:
    """Return the recipe's method as training starts from it, with the weights of `start_from`, if it names any.

    Raises:
        CrossreidError: there is no such run or file, or it is of another network; what does not fit is named.
    """
    source = recipe.start_from
    if source is None:
        return fresh_method(recipe, split), None
    own = with_start_weights(recipe)
    if own is not recipe:
        if recipe.start_encoder is not None:
            raise CrossreidError(
                f"start_encoder is {recipe.start_encoder}, but {source} holds weights of one backbone; leave it out."
            )
        facts = {"file": str(source), "sha256": sha256_of(source)}
        started = Started(
            f"starts from {source}: the weights of its backbone, everything else is newly initialised", facts
        )
        return fresh_method(own, split), started
    method = fresh_method(recipe.model_copy(update={"method": without_download(recipe.method)}), split)
    return method, start_from_run(method, recipe, source)


def with_start_weights(recipe: Recipe) -> Recipe:
    """Return the recipe with the weights of `start_from` as its backbone's, if that is a weights file; else the recipe as it is."""
    source = recipe.start_from
    if source is None or not source.is_file() or is_checkpoint(source):
        return recipe
    return recipe.model_copy(update={"method": recipe.method.with_weights(str(source))})


def is_checkpoint(path: Path) -> bool:
    """Return whether a file is a checkpoint of this program, not bare weights; an unreadable one counts, and is reported as one."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as stored:
            return (stored.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return True


def start_from_run(method: Method, recipe: Recipe, source: Path) -> Started:
    """Give `method`, which `recipe` describes, the weights of a run's best checkpoint, or those in a checkpoint's file.

    Averaged weights take precedence, as in a test. For a folder of stages, the last student's are used. What depends on
    the identities, such as classifiers, is taken from a run on the same data only; else it stays freshly initialised.
    From another method, the encoders and what has the same meaning are taken (`start_weights`). Batch norms by domain
    take the statistics of the data set of the same name, for others the mean of all, or those of the source NAME of
    RUN/sources/NAME; camera side information is taken from a run on the same data and cameras. Adapters that differ are
    merged into the weights.

    Raises:
        CrossreidError: there is no such run, or it is of another network; what does not fit is named.
    """
    if not source.exists():
        raise CrossreidError(
            f"start_from: {source} not found. Expected the folder of a run, a checkpoint's file, or a file of the backbone's weights."
        )
    is_file = source.is_file()
    file = source if is_file else checkpoint_of(run_folder(source))
    stored = read_weights(file)
    kept, given, own = _kept_recipe(stored, file), stored.weights, method.state_dict()
    view = recipe_of_run(source) if weights_folder(source) != source else None
    encoder = recipe.method.encoder
    theirs = None
    if kept is not None and (encoder.domains or encoder.transformer.embeds_cameras or encoder.lora.rank or view):
        theirs = _recipe_of(kept, file, view)
    identities, cameras = _of_identities(recipe, own), _of_cameras(own, theirs, recipe, kept)
    left = (set() if _same_data(kept, recipe) else identities & given.keys()) | cameras
    left |= {name for name in identities & given.keys() if given[name].shape != own[name].shape}
    # State kept by losses belongs to its own run: it starts as in any run, and is not reported.
    remembered = {name for name in own.keys() | given.keys() if is_state_of_losses(name)}
    left |= remembered & own.keys() & given.keys()
    means_the_same = theirs is None or (
        theirs.method.encoder.domains == encoder.domains and _adapted_alike(theirs.method.encoder, encoder)
    )
    is_as_it_is = recipe.start_encoder is None and means_the_same and not _may_be_resampled(kept, recipe, own)
    if is_as_it_is and _is_alike(given, own, left):
        taken = Taken({name: given[name] for name in own if name not in left}, set(given) - left)
    else:
        if kept is None:
            raise CrossreidError(
                f"start_from: {file} does not fit the method, and does not say which method it belongs to. Expected a run on the "
                "same backbone, or a checkpoint in its folder."
            )
        theirs = theirs or _recipe_of(kept, file, view)
        network = method_of_weights(theirs, given, file)
        if not _adapted_alike(theirs.method.encoder, encoder):
            network = merged(network)  # else what the adapters learnt would be lost
        _follow_domains(network, theirs.method.encoder, encoder)
        given = network.state_dict()
        taken = taken_from(network, method, origin=recipe.start_encoder, left=left)
        if not taken.weights:
            raise CrossreidError(
                f"start_from: nothing in {file} fits {type(method).__name__}. Expected a run on the same backbone."
            )
        refuse_another_backbone(taken, method, encoder, theirs.method.encoder, file)
    fit_weights(method, {**own, **taken.weights}, file)
    domains = "" if theirs is None else _domains_in_words(theirs.method.encoder, encoder)
    anew, aside = own.keys() - taken.weights.keys(), given.keys() - taken.used - left
    facts = {
        "run": None if is_file else str(source),
        "file": str(file),
        "fingerprint": fingerprint_of_file(file, stored),
        "method": _method_of(kept),
        "encoder": taken.encoder,
        "domains": domains or None,
        "taken": len(taken.weights),
        "resampled": sorted(taken.resampled),
        "drawn_anew": sorted(anew),
        "left_aside": sorted(aside),
    }
    return Started(
        f"starts from {file}: {_in_words(taken, left - remembered, anew - left - remembered, aside - remembered)}"
        f"{domains and f'; {domains}'}{_other_pixels(view.model_dump(mode='json') if view else kept, recipe)}",
        facts,
    )


def read_start(folder: Path) -> dict[str, Any] | None:
    """Return the content of a run's start.json; None for a run that started from its backbone's weights."""
    path = folder / START
    return read_json(path, dict) if path.is_file() else None


def start_in_words(facts: Mapping[str, Any]) -> str:
    """Say briefly what a run started from: its name without folders, and the fingerprint of it or of the file."""
    name = Path(str(facts.get("run") or facts.get("file"))).name
    if facts.get("fingerprint"):
        return f"{name} ({facts.get('method') or 'a run'}), fingerprint {facts['fingerprint'][:12]}"
    return f"{name}, SHA-256 {str(facts.get('sha256'))[:12]}"


def _recipe_of(kept: dict[str, Any], file: Path, view: Recipe | None) -> Recipe:
    """Return the recipe of the weights; for a run on several data sets, that of `view`, if given."""
    theirs = make_recipe(as_it_was(kept), source=str(file))
    if view is None or view.method.encoder.domain_norm == "shared":
        return theirs
    named = with_encoder(theirs.method, tested_as=view.method.encoder.tested_as)
    return theirs.model_copy(update={"method": named})


def _adapted_alike(theirs: BackboneOptions, own: BackboneOptions) -> bool:
    """Return whether the adapters of both mean the same."""
    keys = {"rank", "alpha", "targets"}
    return theirs.lora.model_dump(include=keys) == own.lora.model_dump(include=keys)


def _follow_domains(network: Method, theirs: BackboneOptions, own: BackboneOptions) -> None:
    """Convert the batch norms of `network` to the domains that its weights are wanted for."""
    if theirs.domains == own.domains and theirs.domain_norm == own.domain_norm:
        return
    same = [theirs.domains.index(name) if name in theirs.domains else None for name in own.domains]
    adopt_domains(nn.ModuleList(network.encoders), same, own.domain_norm)


def _domains_in_words(theirs: BackboneOptions, own: BackboneOptions) -> str:
    """Say whose statistics batch norms take; "" if both networks have the same domains, or none."""
    if not theirs.domains or theirs.domains == own.domains:
        return ""
    rest = theirs.tested_as if theirs.tested_as != MEAN_OF_DOMAINS else f"the mean of {', '.join(theirs.domains)}"
    each = [f"{name} those of {name if name in theirs.domains else rest}" for name in own.domains]
    return f"batch norm statistics: {', '.join(each) or f'those of {rest}'}"


def _of_cameras(
    own: Mapping[str, Tensor], theirs: Recipe | None, recipe: Recipe, kept: dict[str, Any] | None
) -> set[str]:
    """Return the tensors of the cameras, unless a source has the same ones: other data reuses their numbers."""
    numbers = recipe.method.encoder.transformer.cameras
    if theirs is not None and theirs.method.encoder.transformer.cameras == numbers and _same_data(kept, recipe):
        return set()
    return {name for name in own if name.endswith(CAMERAS)}


def _in_words(taken: Taken, left: set[str], anew: set[str], aside: set[str]) -> str:
    parts = [f"{len(taken.weights)} tensors taken"]
    if taken.encoder:
        parts[0] += f", its {taken.encoder} encoder copied to every encoder"
    if taken.resampled:
        parts.append(f"{len(taken.resampled)} of them resampled ({in_short(taken.resampled)})")
    if left:
        cameras = {name for name in left if name.endswith(CAMERAS)}
        kinds = [kind for kind, there in (("identities", left - cameras), ("cameras", cameras)) if there]
        parts.append(f"{len(left)} newly initialised, for its own {' and '.join(kinds)} ({in_short(left)})")
    if anew:
        parts.append(f"{len(anew)} newly initialised, not in the source ({in_short(anew)})")
    if aside:
        parts.append(f"{len(aside)} not used ({in_short(aside)})")
    return ", ".join(parts)


def _is_alike(given: Mapping[str, Tensor], own: Mapping[str, Tensor], left: set[str]) -> bool:
    """Return whether both have the same tensors; those in `left` may have any shape."""
    return given.keys() == own.keys() and all(given[name].shape == own[name].shape for name in own.keys() - left)


def _may_be_resampled(kept: dict[str, Any] | None, recipe: Recipe, own: Mapping[str, Tensor]) -> bool:
    """Return whether there are position embeddings trained on another image size, which equal lengths do not show."""
    there = (kept or {}).get("data")
    if not isinstance(there, dict) or not any(name.endswith("pos_embed") for name in own):
        return False
    return (there.get("height"), there.get("width")) != (recipe.data.height, recipe.data.width)


def _kept_recipe(stored: Checkpoint, file: Path) -> dict[str, Any] | None:
    """Return the recipe of a checkpoint: its own, or that of the run whose folder it is in; None if there is neither."""
    given = stored.facts.get("recipe")
    if not given and (file.parent / RECIPE).is_file():
        given = recipe_of_run(file.parent).model_dump(mode="json")
    return given or None


def _method_of(kept: dict[str, Any] | None) -> str | None:
    method = (kept or {}).get("method")
    return str(method["name"]) if isinstance(method, dict) and "name" in method else None


def _other_pixels(kept: dict[str, Any] | None, recipe: Recipe) -> str:
    """Say so if the weights were trained with other resizing, normalisation or levels than the recipe's; else ""."""
    there = as_it_was(kept).get("data") if isinstance(kept, dict) else None
    if not isinstance(there, dict):
        return ""
    here = recipe.data.model_dump(mode="json", include={"normalise", "interpolation", "levels"})
    there = {"levels": "full", **there}
    differ = [f"{there[key]}, now they are {here[key]} (data.{key})" for key in sorted(here, reverse=True)
              if there.get(key) not in (None, here[key])]  # fmt: skip
    return "".join(f"; trained with images of {one}" for one in differ)


def _of_identities(recipe: Recipe, own: dict[str, torch.Tensor]) -> set[str]:
    """Return the tensors whose shape depends on the number of training identities."""
    with torch.random.fork_rng(devices=[]):
        fewer, more = (build_method(without_download(recipe.method), count).state_dict() for count in (2, 3))
    return {name for name in own if fewer[name].shape != more[name].shape}


def _same_data(stored: Any, recipe: Recipe) -> bool:
    """Return whether the data section of a stored recipe names the same identities as that of `recipe`."""
    there = stored.get("data") if isinstance(stored, dict) else None
    return same_identities(there, recipe.data.model_dump(mode="json"))
