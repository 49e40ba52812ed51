"""Backbone weights from local files: find the backbone in the file, refuse missing parts, report what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from crossreid.models.key_names import Found, find_backbone
from crossreid.models.loading_notes import note
from crossreid.models.own_weights import grid_in, without_options
from crossreid.models.weight_files import WeightsError, read_state, stored_facts

__all__ = ["WeightsError", "load_local_weights", "read_state"]

# Computed buffers, not learned ones; files of older versions contain them.
COMPUTED = (
    "num_batches_tracked",
    "relative_position_index",
    "attn_mask",
    "periods",
    "bias_mask",
    "relative_coords_table",
)
ADDED = ("non_local_", "bam", "affinity_gain")  # what this program adds to a backbone after loading its weights
SHOWN = 6


def load_local_weights(network: nn.Module, path: Path, name: str) -> None:
    """Load a local file of any origin into `network`: see `key_names` for the names, `weight_files` for the formats.

    What is left out, and resampled tables, are noted in one line (`loading_notes`). Modules that the network lacks,
    such as a classifier or a neck, are left out; blocks of its own stages are not: such a file is of another network.

    Raises:
        WeightsError: the file is missing or unreadable, lacks what the network needs, or has more of its modules than
            it has.
    """
    given = read_state(path)
    expected = network.state_dict()
    facts = stored_facts(path)
    given, changes = without_options(given, facts)
    found = find_backbone(given, network, own=bool(facts), grid=grid_in(facts, network))
    found = replace(found, changes=(*changes, *found.changes))
    faults = _faults(expected, found.tensors)
    if faults:
        raise WeightsError(
            f"weights in {path} do not fit the backbone {name!r}: {'; '.join(faults)}. "
            "Give a file written for this architecture, or change `method.backbone.name`."
        )
    network.load_state_dict({key: value for key, value in found.tensors.items() if key in expected}, strict=False)
    if said := _said(given, expected, found):
        note(f"weights of {name} from {path}: {said}")


def _faults(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    missing = sorted(key for key in expected.keys() - given.keys() if not key.endswith(COMPUTED))
    own = {key.partition(".")[0] for key in expected if "." in key}
    unknown = sorted(
        key
        for key in given.keys() - expected.keys()
        if key.partition(".")[0] in own
        and not key.endswith(COMPUTED)
        and not any(part.startswith(ADDED) for part in key.split("."))
    )
    shapes = sorted(
        f"{key}: expected {tuple(expected[key].shape)}, found {tuple(given[key].shape)}"
        for key in expected.keys() & given.keys()
        if expected[key].shape != given[key].shape
    )
    return [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("keys missing", missing), ("keys unknown", unknown), ("shapes that differ", shapes))
        if keys
    ]


def _said(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], found: Found) -> str:
    """What to report about how a file was read; empty if it contains exactly the network's weights."""
    parts = [f"read behind {found.prefix!r}"] if found.prefix else []
    parts += dict.fromkeys(found.changes)
    over = (found.prefix + key for key in found.tensors.keys() - expected.keys())
    aside = sorted(key for key in {*(given.keys() - found.used), *over} if not key.endswith(COMPUTED))
    if aside:
        groups = Counter(_group(key, found.prefix) for key in aside)
        shown = [f"{group} ({count})" if count > 1 else group for group, count in sorted(groups.items())]
        more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
        parts.append(f"left aside {', '.join(shown[:SHOWN])}{more}")
    return "; ".join(parts)


def _group(key: str, prefix: str) -> str:
    """The module of a name in a file: its first part after the common prefix with the backbone's names."""
    parts, behind = key.split("."), prefix.split(".")
    shared = 0
    while shared < min(len(parts), len(behind)) - 1 and parts[shared] == behind[shared]:
        shared += 1
    return ".".join(parts[: shared + 1])
