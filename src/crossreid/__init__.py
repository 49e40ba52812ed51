"""crossreid: re-identification across modalities and views. The public names; anything else may change."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("crossreid")
except PackageNotFoundError:  # run from a plain checkout
    __version__ = "0.1.0"

# Where each public name lives: they are imported when first used, so that commands that need no network start quickly.
_HOMES = {
    "Record": "crossreid.data.records",
    "Split": "crossreid.data.records",
    "Modality": "crossreid.data.records",
    "load_split": "crossreid.data.catalogue:load",
    "check": "crossreid.data.checking",
    "synthesise": "crossreid.data.synthetic",
    "Recipe": "crossreid.runs.recipe",
    "load_recipe": "crossreid.runs.recipe",
    "make_recipe": "crossreid.runs.recipe",
    "build_method": "crossreid.methods",
    "demo_recipe": "crossreid.demo.demonstration",
    "train": "crossreid.runs.train",
    "evaluate": "crossreid.runs.evaluate",
    "evaluate_features": "crossreid.evaluation.external",
    "report": "crossreid.reporting.report",
    "Features": "crossreid.evaluation.features",
    "Score": "crossreid.evaluation.scores",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"crossreid has no public name {name!r}; it has {', '.join(sorted(_HOMES))}.")
    import importlib

    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)
