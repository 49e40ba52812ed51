"""Exported files of every target: their names, inputs and outputs, and the facts they state about model and images.

Facts are JSON under the name `crossreid`: in an ONNX file's metadata, in the `rt_info` of OpenVINO's .xml, among the
extra files of torch's .pt2. They hold format, fingerprint, method, dimension, flip, preprocessing, version, precision
and batch (`dynamic`, or the only size); graph, the digest of the rest of the file; `trained`, the progress of an
unfinished run; `start`, the run or file named by `start_from`, if any; `calibration`, if the run has one; and facts,
the digest of the facts themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import crossreid
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration_files import to_json
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exporting.exported import ExportPrecision, Target
from crossreid.runs.folders import weights_folder
from crossreid.runs.starting import read_start, start_in_words

KEY = "crossreid"
FORMATS: dict[Target, str] = {
    "onnx": "crossreid-onnx-1", "openvino": "crossreid-openvino-1", "torch-export": "crossreid-torch-export-1",
}  # fmt: skip
SUFFIXES: dict[Target, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
INPUTS = {"images": "float32", "modalities": "int64"}
OUTPUTS = ("embeddings", "features")
DYNAMIC = "dynamic"
# The facts and their types.
_KINDS = {"method": str, "fingerprint": str, "graph": str, "dimension": int, "flip": bool, "preprocessing": dict}
_FINGERPRINT = re.compile("[0-9a-f]{64}")


def target_of(path: Path) -> Target | None:
    """Return the target of a path, by its name; None for a run."""
    return next((target for target, suffix in SUFFIXES.items() if path.suffix.lower() == suffix), None)


def is_exported(path: Path) -> bool:
    """Whether a path is that of an exported file rather than of a run, by its name."""
    return target_of(path) is not None


def facts_of(
    model: EmbeddingModel, target: Target, *, precision: ExportPrecision = "float32", batch: int | None = None
) -> dict[str, Any]:
    """Return the facts of a file exported from `model`; its digests are added on writing (`text_of_facts`)."""
    return {
        "format": FORMATS[target],
        "fingerprint": model.fingerprint,
        "method": model.method,
        "dimension": model.dimension,
        "flip": model.flip,
        "preprocessing": model.preprocessing.to_json(),
        "version": crossreid.__version__,
        "precision": precision,
        "batch": batch or DYNAMIC,
        **({"trained": model.trained} if model.trained else {}),
        **({"calibration": to_json(model.calibration, measures=False)} if model.calibration else {}),
        **({"start": start_in_words(start)} if (start := read_start(weights_folder(model.source))) else {}),
    }


def text_of_facts(facts: Mapping[str, Any], graph: str) -> str:
    """Return the facts as written, with `graph`, the digest of the rest of the file, and their own digest."""
    said = {**facts, "graph": graph}
    return json.dumps(said | {"facts": facts_digest(said)}, sort_keys=True)


def read_facts(said: str | None, path: Path, target: Target) -> dict[str, Any]:
    """Return the facts that `crossreid export` wrote into a file, from the text under `crossreid`.

    Raises:
        CrossreidError: there are no facts, so the preprocessing is unknown; or they are damaged, incomplete or of
            another version.
    """
    if said is None:
        raise CrossreidError(
            f"{path} does not state how to prepare its images (metadata {KEY!r} is missing). Expected a file "
            "written by `crossreid export`; for another tool's file the preprocessing would be a guess."
        )
    try:
        facts = json.loads(said)
        missing = {"format", *_KINDS} - facts.keys()
    except (json.JSONDecodeError, AttributeError, RecursionError) as error:
        raise CrossreidError(f"{path}: its metadata {KEY!r} is damaged. Export it again.") from error
    if missing or facts["format"] != FORMATS[target]:
        raise CrossreidError(
            f"{path}: its metadata {KEY!r} is of another version ({facts.get('format')!r}, missing: "
            f"{', '.join(sorted(missing)) or 'nothing'}). Expected {FORMATS[target]!r}; export it again."
        )
    wrong = [name for name, kind in _KINDS.items() if type(facts[name]) is not kind]
    if not wrong and not _FINGERPRINT.fullmatch(facts["fingerprint"]):
        wrong = ["fingerprint"]
    # Files of earlier versions do not state these.
    if not wrong and facts.get("precision", "float32") not in get_args(ExportPrecision):
        wrong = ["precision"]
    batch = facts.get("batch", DYNAMIC)
    if not wrong and batch != DYNAMIC and not (type(batch) is int and batch >= 1):
        wrong = ["batch"]
    if wrong:
        raise CrossreidError(
            f"{path}: its metadata {KEY!r} is damaged: {wrong[0]} is {str(facts[wrong[0]])[:80]!r}. Export it again."
        )
    found: dict[str, Any] = facts
    return found


def refuse_changed_graph(facts: Mapping[str, Any], graph: str, path: Path) -> None:
    """Raise `CrossreidError` if a file's facts are not of the graph with the digest `graph`."""
    if graph != facts["graph"]:
        raise CrossreidError(
            f"{path} is damaged or was changed: its graph is not the one that was exported. Export it again."
        )


def refuse_changed_facts(facts: Mapping[str, Any], path: Path) -> None:
    """Raise `CrossreidError` if a file's facts have changed since they were written."""
    if facts.get("facts") not in (None, facts_digest(facts)):  # files of earlier versions have no digest of them
        raise CrossreidError(
            f"{path} is damaged or was changed: its metadata are not what was exported. Export it again."
        )


def facts_digest(facts: Mapping[str, Any]) -> str:
    """Return the hexadecimal SHA-256 of the facts, without this digest."""
    said = {key: value for key, value in facts.items() if key != "facts"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
