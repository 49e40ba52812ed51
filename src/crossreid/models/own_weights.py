"""Checkpoints of this program read for their backbone only, with what options added to the network merged into it.

Adapters are merged into the layers they adapt, batch norm per domain becomes the ordinary one it equals at test,
and positions are on the grid that the run was built for, all as the recipe in the checkpoint says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from crossreid.models.domain_norm import MEAN_OF_DOMAINS
from crossreid.models.encoder_weights import ADAPTED
from crossreid.models.position_tables import Grid

ADAPTERS = (".lora_A.default.weight", ".lora_B.default.weight")
BY_DOMAIN = ("running_mean", "running_var", "weight", "bias")


class Worked(NamedTuple):
    """Tensors of a checkpoint without what options added, and what was done, for printing."""

    tensors: dict[str, Tensor]
    changes: tuple[str, ...] = ()


def without_options(given: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Worked:
    """The tensors of a checkpoint as those of a backbone without such options; its `facts` contain the recipe."""
    options = _backbone_in(facts.get("recipe"))
    if not options:
        return Worked(dict(given))
    merged, adapted = _merged(given, options)
    settled, norms = _settled(merged, options)
    said = [f"{adapted} adapters added to their layers"] if adapted else []
    said += [f"{norms} batch norms by domain settled"] if norms else []
    return Worked(settled, tuple(said))


def grid_in(facts: Mapping[str, Any], network: nn.Module) -> Grid | None:
    """Patches, down and across, of the images that a run on such a network was built for; None if unknown."""
    options = _backbone_in(facts.get("recipe"))
    size, kernel = options.get("input_size"), getattr(getattr(network, "patch_embed", None), "proj", None)
    if not isinstance(size, list | tuple) or len(size) != 2 or not isinstance(kernel, nn.Conv2d):
        return None
    stride = (options.get("transformer") or {}).get("patch_stride")
    rows, columns = (
        (int(side) - patch) // int(stride or patch) + 1 for side, patch in zip(size, kernel.kernel_size, strict=True)
    )
    return rows, columns


def _backbone_in(section: Any) -> Mapping[str, Any]:
    """The backbone's options in a recipe, at any depth; empty if there are none."""
    if not isinstance(section, Mapping):
        return {}
    if isinstance(found := section.get("backbone"), Mapping):
        return found
    return next((found for inner in section.values() if (found := _backbone_in(inner))), {})


def _merged(given: Mapping[str, Tensor], options: Mapping[str, Any]) -> tuple[dict[str, Tensor], int]:
    """Replace W, A and B by W + alpha / rank * B A (Hu et al., ICLR 2022, equation 3); also return how many layers."""
    alpha = (options.get("lora") or {}).get("alpha")
    down, up = ADAPTERS
    layers = {key.removesuffix(down) for key in given if key.endswith(down) and key.removesuffix(down) + up in given}
    if not layers or alpha is None:
        return dict(given), 0
    result = {key.replace(ADAPTED, "."): value for key, value in given.items() if not key.endswith(ADAPTERS)}
    for layer in layers:
        a, b, weight = given[layer + down].float(), given[layer + up].float(), result[f"{layer}.weight"]
        change = (b.flatten(1) @ a.flatten(1)).reshape(weight.shape) * (float(alpha) / len(a))
        result[f"{layer}.weight"] = (weight.float() + change).to(weight.dtype)
    return result, len(layers)


def _settled(given: Mapping[str, Tensor], options: Mapping[str, Any]) -> tuple[dict[str, Tensor], int]:
    """Keep one row instead of all domains', that of `tested_as` or their mean; also return in how many layers."""
    if options.get("domain_norm", "shared") == "shared":
        return dict(given), 0
    domains, tested_as = list(options.get("domains") or ()), options.get("tested_as", MEAN_OF_DOMAINS)
    row = domains.index(tested_as) if tested_as in domains else None
    norms = {
        key.removesuffix(".running_mean")
        for key, value in given.items()
        if key.endswith(".running_mean") and value.ndim == 2
    }
    result = dict(given)
    for norm in norms:
        for key in (f"{norm}.{part}" for part in BY_DOMAIN if f"{norm}.{part}" in given):
            rows = given[key]
            result[key] = rows.mean(0) if row is None or len(rows) == 1 else rows[row]
    return result, len(norms)
