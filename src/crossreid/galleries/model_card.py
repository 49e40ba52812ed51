"""What a gallery stores about its model besides the fingerprint: training progress and preprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossreid.errors import CrossreidError

if TYPE_CHECKING:
    from crossreid.inference.embedding_model import EmbeddingModel

_ORDER = ("height", "width", "interpolation", "mean", "std", "colours", "levels")
_LONGEST = {"trained": 200, "preprocessing": 1500}  # characters; a row of Milvus holds no more than 4096 bytes in all


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known about a model.

    trained: how far it was trained, if training is unfinished; else None.
    preprocessing: as written by `Preprocessing.to_json`; None if unknown.
    """

    trained: str | None = None
    preprocessing: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, model: EmbeddingModel) -> ModelCard:
        return cls(model.trained or None, model.preprocessing.to_json())

    @classmethod
    def of_texts(cls, texts: Mapping[str, str]) -> ModelCard:
        """From the output of `texts`. Raises `CrossreidError` for an invalid preprocessing."""
        text = texts.get("preprocessing")
        if text is None:
            return cls(texts.get("trained"))
        try:
            preprocessing = json.loads(text)
        except (ValueError, RecursionError):
            preprocessing = None
        if not isinstance(preprocessing, dict):
            raise CrossreidError(f"the preprocessing of its model is {text[:40]!r}")
        return cls(texts.get("trained"), preprocessing)

    def texts(self) -> dict[str, str | None]:
        """The values that a gallery stores, by name; None removes one. An unknown preprocessing leaves the stored one.

        Ranges of too many cameras to fit are stored as `"levels": "by camera"`.
        """
        trained = None if self.trained is None else self.trained[: _LONGEST["trained"]]
        if self.preprocessing is None:
            return {"trained": trained}
        text = json.dumps(self.preprocessing)
        if len(text) > _LONGEST["preprocessing"]:
            text = json.dumps({**self.preprocessing, "levels": "by camera"})
        return {"trained": trained, "preprocessing": text}


def in_words(preprocessing: Mapping[str, Any]) -> str:
    """`height 128, width 64, interpolation bilinear, mean 0.485 0.456 0.406, ...`."""
    ordered = sorted(preprocessing, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    return ", ".join(f"{name} {_value(preprocessing[name])}" for name in ordered)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_value(part)}" for key, part in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
