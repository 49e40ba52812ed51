"""crossreid: re-identification across modalities and views. These are the public names; anything else may change.

Each name is imported on first use, so that code that needs no network starts quickly; editors and type checkers still
see the types.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossreid.clustering.cluster import Clustered as Clustered
    from crossreid.clustering.cluster import cluster as cluster
    from crossreid.data.batch import Batch as Batch
    from crossreid.data.catalogue import (
        DATASETS as DATASETS,
    )
    from crossreid.data.catalogue import (
        load as load_split,
    )
    from crossreid.data.catalogue import (
        register_dataset as register_dataset,
    )
    from crossreid.data.checking import check as check
    from crossreid.data.records import DataError as DataError
    from crossreid.data.records import Modality as Modality
    from crossreid.data.records import Record as Record
    from crossreid.data.records import Split as Split
    from crossreid.data.synthetic.world import synthesise as synthesise
    from crossreid.demo.demonstration import demo_recipe as demo_recipe
    from crossreid.errors import CrossreidError as CrossreidError
    from crossreid.evaluation.calibration import Calibration as Calibration
    from crossreid.evaluation.embedding_files import read_embeddings as read_embeddings
    from crossreid.evaluation.external import evaluate_features as evaluate_features
    from crossreid.evaluation.external import rank as rank
    from crossreid.evaluation.features import Features as Features
    from crossreid.evaluation.protocols import PROTOCOLS as PROTOCOLS
    from crossreid.evaluation.protocols import Protocol as Protocol
    from crossreid.evaluation.reranking_options import KReciprocal as KReciprocal
    from crossreid.evaluation.reranking_options import QueryExpansion as QueryExpansion
    from crossreid.evaluation.scores import Score as Score
    from crossreid.fusion.calibrated import CalibratedFusion as CalibratedFusion
    from crossreid.fusion.fuse import Fused as Fused
    from crossreid.fusion.fuse import fuse as fuse
    from crossreid.fusion.local_matching import LocalMatcher as LocalMatcher
    from crossreid.fusion.local_matching import register_matcher as register_matcher
    from crossreid.galleries.entries import Entries as Entries
    from crossreid.galleries.entries import Entry as Entry
    from crossreid.galleries.filters import Filter as Filter
    from crossreid.galleries.gallery import Gallery as Gallery
    from crossreid.galleries.opening import open_gallery as open_gallery
    from crossreid.inference.embed import embed as embed
    from crossreid.inference.embedding_model import EmbeddingModel as EmbeddingModel
    from crossreid.inference.exporting.export import export as export
    from crossreid.inference.exporting.export import export_onnx as export_onnx
    from crossreid.inference.open_model import open_model as open_model
    from crossreid.losses.alignment import class_alignment as class_alignment
    from crossreid.losses.alignment import graph_alignment as graph_alignment
    from crossreid.losses.distillation import (
        distance_preservation as distance_preservation,
    )
    from crossreid.losses.distillation import (
        distilled_knowledge as distilled_knowledge,
    )
    from crossreid.losses.distillation import (
        js_divergence as js_divergence,
    )
    from crossreid.losses.distillation import (
        kl_divergence as kl_divergence,
    )
    from crossreid.losses.metric import (
        modality_aware_ranking_loss as modality_aware_ranking_loss,
    )
    from crossreid.losses.metric import (
        triplet_loss as triplet_loss,
    )
    from crossreid.losses.metric import (
        weighted_triplet_loss as weighted_triplet_loss,
    )
    from crossreid.losses.weighing import LOSSES as LOSSES
    from crossreid.losses.weighing import register_loss as register_loss
    from crossreid.methods.building import build_method as build_method
    from crossreid.methods.method import (
        METHODS as METHODS,
    )
    from crossreid.methods.method import (
        Method as Method,
    )
    from crossreid.methods.method import (
        MethodOptions as MethodOptions,
    )
    from crossreid.methods.method import (
        register_method as register_method,
    )
    from crossreid.models.backbone_registry import BACKBONES as BACKBONES
    from crossreid.models.backbone_registry import register_backbone as register_backbone
    from crossreid.registry import use_plugin as use_plugin
    from crossreid.reporting.plotting import plot as plot
    from crossreid.reporting.report import report as report
    from crossreid.runs.calibrating import calibrate as calibrate
    from crossreid.runs.calibrating import read_calibration as read_calibration
    from crossreid.runs.compare import Comparison as Comparison
    from crossreid.runs.compare import compare as compare
    from crossreid.runs.evaluate import evaluate as evaluate
    from crossreid.runs.named_network import PretrainedNetwork as PretrainedNetwork
    from crossreid.runs.recipe import Recipe as Recipe
    from crossreid.runs.recipe import load_recipe as load_recipe
    from crossreid.runs.recipe import make_recipe as make_recipe
    from crossreid.runs.run import Run as Run
    from crossreid.runs.run import open_run as open_run
    from crossreid.runs.train import train as train
    from crossreid.runs.zero_shot import evaluate_pretrained as evaluate_pretrained
    from crossreid.training.loop import FitResult as FitResult
    from crossreid.training.loop import fit as fit
    from crossreid.training.options import TrainingOptions as TrainingOptions
    from crossreid.watching.detectors.detector_registry import register_detector as register_detector
    from crossreid.watching.watch import watch as watch

try:
    __version__ = version("crossreid")
except PackageNotFoundError:  # run from a plain checkout
    __version__ = "0.2.0"

# The module of each public name.
_HOMES = {
    "BACKBONES": "models.backbone_registry",
    "Batch": "data.batch",
    "Calibration": "evaluation.calibration",
    "CalibratedFusion": "fusion.calibrated",
    "Clustered": "clustering.cluster",
    "Comparison": "runs.compare",
    "CrossreidError": "errors",
    "DATASETS": "data.catalogue",
    "DataError": "data.records",
    "EmbeddingModel": "inference.embedding_model",
    "Entries": "galleries.entries",
    "Entry": "galleries.entries",
    "Features": "evaluation.features",
    "Filter": "galleries.filters",
    "FitResult": "training.loop",
    "Fused": "fusion.fuse",
    "Gallery": "galleries.gallery",
    "KReciprocal": "evaluation.reranking_options",
    "LOSSES": "losses.weighing",
    "LocalMatcher": "fusion.local_matching",
    "METHODS": "methods.method",
    "Method": "methods.method",
    "MethodOptions": "methods.method",
    "Modality": "data.records",
    "PROTOCOLS": "evaluation.protocols",
    "PretrainedNetwork": "runs.named_network",
    "Protocol": "evaluation.protocols",
    "QueryExpansion": "evaluation.reranking_options",
    "Recipe": "runs.recipe",
    "Record": "data.records",
    "Run": "runs.run",
    "Score": "evaluation.scores",
    "Split": "data.records",
    "TrainingOptions": "training.options",
    "build_method": "methods.building",
    "calibrate": "runs.calibrating",
    "check": "data.checking",
    "class_alignment": "losses.alignment",
    "cluster": "clustering.cluster",
    "compare": "runs.compare",
    "demo_recipe": "demo.demonstration",
    "distance_preservation": "losses.distillation",
    "distilled_knowledge": "losses.distillation",
    "embed": "inference.embed",
    "evaluate": "runs.evaluate",
    "evaluate_features": "evaluation.external",
    "evaluate_pretrained": "runs.zero_shot",
    "export": "inference.exporting.export",
    "export_onnx": "inference.exporting.export",
    "fit": "training.loop",
    "fuse": "fusion.fuse",
    "graph_alignment": "losses.alignment",
    "js_divergence": "losses.distillation",
    "kl_divergence": "losses.distillation",
    "load_recipe": "runs.recipe",
    "load_split": "data.catalogue:load",
    "make_recipe": "runs.recipe",
    "modality_aware_ranking_loss": "losses.metric",
    "open_gallery": "galleries.opening",
    "open_model": "inference.open_model",
    "open_run": "runs.run",
    "plot": "reporting.plotting",
    "rank": "evaluation.external",
    "read_calibration": "runs.calibrating",
    "read_embeddings": "evaluation.embedding_files",
    "register_backbone": "models.backbone_registry",
    "register_dataset": "data.catalogue",
    "register_detector": "watching.detectors.detector_registry",
    "register_loss": "losses.weighing",
    "register_method": "methods.method",
    "register_matcher": "fusion.local_matching",
    "report": "reporting.report",
    "synthesise": "data.synthetic.world",
    "train": "runs.train",
    "triplet_loss": "losses.metric",
    "use_plugin": "registry",
    "watch": "watching.watch",
    "weighted_triplet_loss": "losses.metric",
}
__all__ = [
    "BACKBONES",
    "DATASETS",
    "LOSSES",
    "METHODS",
    "PROTOCOLS",
    "Batch",
    "CalibratedFusion",
    "Calibration",
    "Clustered",
    "Comparison",
    "CrossreidError",
    "DataError",
    "EmbeddingModel",
    "Entries",
    "Entry",
    "Features",
    "Filter",
    "FitResult",
    "Fused",
    "Gallery",
    "KReciprocal",
    "LocalMatcher",
    "Method",
    "MethodOptions",
    "Modality",
    "PretrainedNetwork",
    "Protocol",
    "QueryExpansion",
    "Recipe",
    "Record",
    "Run",
    "Score",
    "Split",
    "TrainingOptions",
    "__version__",
    "build_method",
    "calibrate",
    "check",
    "class_alignment",
    "cluster",
    "compare",
    "demo_recipe",
    "distance_preservation",
    "distilled_knowledge",
    "embed",
    "evaluate",
    "evaluate_features",
    "evaluate_pretrained",
    "export",
    "export_onnx",
    "fit",
    "fuse",
    "graph_alignment",
    "js_divergence",
    "kl_divergence",
    "load_recipe",
    "load_split",
    "make_recipe",
    "modality_aware_ranking_loss",
    "open_gallery",
    "open_model",
    "open_run",
    "plot",
    "rank",
    "read_calibration",
    "read_embeddings",
    "register_backbone",
    "register_dataset",
    "register_detector",
    "register_loss",
    "register_matcher",
    "register_method",
    "report",
    "synthesise",
    "train",
    "triplet_loss",
    "use_plugin",
    "watch",
    "weighted_triplet_loss",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"crossreid has no public name {name!r}; it has {', '.join(sorted(_HOMES))}.")
    import importlib

    from crossreid.extras import missing_extra

    module, _, attribute = _HOMES[name].partition(":")
    try:
        value = getattr(importlib.import_module(f"crossreid.{module}"), attribute or name)
    except ImportError as error:
        raise missing_extra(error, f"crossreid.{name}") or error from error
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
