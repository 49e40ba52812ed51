"""Names of timm's models: plain, with a tag (`resnet50.tv_in1k`), or a repository on the hub (`hf-hub:OWNER/NAME`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import timm
from timm.models import PretrainedCfg, load_model_config_from_hf

from crossreid.data.normalisation import IMAGENET
from crossreid.errors import CrossreidError
from crossreid.models.hub import offline_unless_it_answers

HUB = ("hf-hub:", "hf_hub:")
# Repositories that contain a timm network without timm's description, by its architecture; their keys begin with
# `backbone.`.
UNDESCRIBED = {
    "conservationxlabs/miewid-msv2": "efficientnetv2_rw_m",
    "conservationxlabs/miewid-msv3": "efficientnetv2_rw_m",
}
# Architectures of repositories, so that a run trained from them opens without their descriptions.
KNOWN = {
    "BVRA/MegaDescriptor-T-224": "swin_tiny_patch4_window7_224",
    "BVRA/MegaDescriptor-S-224": "swin_small_patch4_window7_224",
    "BVRA/MegaDescriptor-B-224": "swin_base_patch4_window7_224",
    "BVRA/MegaDescriptor-L-224": "swin_large_patch4_window7_224",
    "BVRA/MegaDescriptor-L-384": "swin_large_patch4_window12_384",
}


@dataclass(frozen=True, slots=True)
class TimmModel:
    """The model that a name stands for.

    Attributes:
        architecture: timm's name of the network, with the tag of its weights if the name has one.
        arguments: passed to the network in addition to timm's defaults.
        described: what is known about its weights: input size, mean, deviation, interpolation; None if nothing is.
        repository: the hub repository of its weights; empty if timm knows it by the architecture's name.
    """

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    described: PretrainedCfg | None = None
    repository: str = ""


def is_of_hub(name: str) -> bool:
    """Whether a name is that of a repository on the hub."""
    return name.startswith(HUB)


def find_timm_model(name: str) -> TimmModel | None:
    """The timm model of that name; None if there is none.

    Raises:
        CrossreidError: a repository whose description is not in the cache, and the hub is unreachable or has no such
            repository.
    """
    if is_of_hub(name):
        return _of_hub(name)
    if not timm.is_model(name):
        return None
    try:
        described = timm.get_pretrained_cfg(name)
    except (RuntimeError, KeyError):  # for an unknown tag
        described = None
    return TimmModel(name, {}, described)


@lru_cache(maxsize=32)
def _of_hub(name: str) -> TimmModel:
    repository = name.partition(":")[2]
    bare, _, revision = repository.partition("@")
    if bare in UNDESCRIBED:
        architecture = UNDESCRIBED[bare]
        seen = replace(_own_description(architecture), mean=IMAGENET.mean, std=IMAGENET.std)
        return TimmModel(architecture, {}, seen, repository)
    owner, _, model = bare.partition("/")
    if owner == "timm" and not revision and timm.is_model(model):
        return TimmModel(model, {}, timm.get_pretrained_cfg(model))
    with offline_unless_it_answers() as answers:
        try:
            said, architecture, arguments = load_model_config_from_hf(repository)
        except Exception as error:  # from the hub's client, the file, or timm's parsing of it
            if bare in KNOWN and not answers:
                return TimmModel(KNOWN[bare], {}, _own_description(KNOWN[bare]), repository)
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            if not answers:
                reason = "it is not in the cache, and the hub cannot be reached"
            raise CrossreidError(
                f"backbone {name!r}: its description could not be fetched ({reason}). Expected internet access or a filled cache, and "
                "a repository with timm's config.json. Or name the architecture, and give the weights as a local file."
            ) from error
    kept = {key: said[key] for key in ("mean", "std", "interpolation", "fixed_input_size", "input_size") if key in said}
    return TimmModel(architecture, dict(arguments), replace(_own_description(architecture), **kept), repository)


def _own_description(architecture: str) -> PretrainedCfg:
    found = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    if found is None:
        raise CrossreidError(f"backbone {architecture!r}, which the hub names, is no model of this version of timm.")
    return found
