"""Model cards beside an exported file: `FILE.card.json` for programs and `FILE.card.md` for people.

The page follows the model cards of Hugging Face (Mitchell et al., Model Cards for Model Reporting, FAT* 2019), with
their YAML header. Paths are reduced to their last part, as cards are passed on to others.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

import crossreid
from crossreid.data.catalogue import describe
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.files import read_json, sha256_of, write_json, write_text
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exporting.card_page import card_page
from crossreid.inference.exporting.card_schema import (
    UNKNOWN,
    Batch,
    Card,
    CardAgreement,
    CardCalibration,
    CardData,
    CardFidelity,
    CardFile,
    CardNetwork,
    CardPreprocessing,
    CardScores,
    CardStart,
    CardTensor,
)
from crossreid.inference.exporting.card_scores import card_scores, measured_parts
from crossreid.inference.exporting.card_words import INTENDED_USE, KNOWN_FAILURES
from crossreid.inference.exporting.exported import Exported
from crossreid.methods import METHODS
from crossreid.runs.folders import weights_folder
from crossreid.runs.named_network import PretrainedNetwork, pretrained_at
from crossreid.runs.recipe import Recipe, recipe_of_run
from crossreid.runs.run import is_synthetic
from crossreid.runs.starting import read_start, start_in_words

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "onnx", "onnxruntime", "openvino", "nncf")
_PATHS = ("root", "start_from", "weights", "teacher")  # keys of recipes that hold paths


def card_files(file: Path) -> tuple[Path, Path]:
    """Return the paths of an exported file's cards: for programs and for people."""
    return file.with_name(f"{file.name}.card.json"), file.with_name(f"{file.name}.card.md")


def write_card(
    model: EmbeddingModel, exported: Exported, folder: Path, *, checkpoint: str = "best", content: Path | None = None
) -> Path:
    """Write the cards of an exported file into `folder`, and return the path of the one for programs.

    Args:
        model: the run's model, or a named network's, in torch; `source` is its folder.
        checkpoint: which of the run's checkpoints was exported.
        content: the file, if it is not at `exported.path` yet.
    """
    card = make_card(model, exported, checkpoint=checkpoint, content=content)
    path, page = card_files(folder / exported.path.name)
    write_json(path, card.model_dump(mode="json"))
    write_text(page, card_page(card))
    return path


def read_card(path: Path) -> Card:
    """Return the card in a file, or that of an exported file.

    Raises:
        CrossreidError: there is none, or it is damaged or of another version.
    """
    path = Path(path)
    where = path if path.name.endswith(".card.json") else card_files(path)[0]
    if not where.is_file():
        raise CrossreidError(f"{where} not found. Expected the model card written by `crossreid export` beside a file.")
    told = read_json(where)
    try:
        return Card.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the card"
        raise CrossreidError(
            f"{where} is no card of this version: {place}: {first['msg'].lower()} ({error.error_count()} faults). Export again."
        ) from error


def make_card(
    model: EmbeddingModel, exported: Exported, *, checkpoint: str = "best", content: Path | None = None
) -> Card:
    """Return the card itself; see `write_card`."""
    named = pretrained_at(model.source)
    recipe = None if named is not None else recipe_of_run(model.source)
    file = content or exported.path
    if named is None:
        scores, stored = card_scores(model.source, checkpoint)
    else:
        scores, stored = CardScores(of="nothing", note="the network was not trained here"), []
    title = METHODS[model.method].title if model.method in METHODS else model.method
    fidelity = exported.fidelity
    return Card(
        name=named.name if named is not None else _called(model.source),
        date=datetime.now(UTC).date().isoformat(),
        file=CardFile(
            name=_readable(exported.path.name),
            target=exported.target,
            precision=exported.precision,
            sha256=sha256_of(file) if file.is_file() else None,
            size=file.stat().st_size if file.is_file() else None,
        ),
        network=CardNetwork(
            method=model.method,
            title=title,
            dimension=model.dimension,
            fingerprint=model.fingerprint,
            flip=model.flip,
            trained=model.trained,
        ),
        recipe=None if recipe is None else _without_folders(recipe.model_dump(mode="json")),
        data=() if recipe is None else _data_of(recipe),
        start=_start_of(model, recipe, named),
        preprocessing=_preprocessing(model),
        inputs=_inputs(model, exported.batch or "B"),
        outputs=_outputs(model, exported.batch or "B"),
        scores=scores,
        measured=measured_parts(model.source, stored, model.calibration) if named is None else (),
        calibration=_calibration(model.calibration),
        agreement=CardAgreement(difference=exported.difference, images=exported.images, of=exported.compared_on),
        fidelity=None
        if fidelity is None
        else CardFidelity(
            mean_cosine=fidelity.mean_cosine,
            least_cosine=fidelity.least_cosine,
            images=fidelity.images,
            scores=dict(fidelity.scores),
            protocol=fidelity.protocol,
            calibrated_on=fidelity.calibrated_on,
        ),
        intended_use=INTENDED_USE,
        known_failures=KNOWN_FAILURES,
        versions=_versions(),
    )


def _called(folder: Path) -> str:
    return _readable(folder.resolve().name) or "run"


def _readable(name: str) -> str:
    """Return a file's name as text, with bytes that are not UTF-8 replaced."""
    return name.encode("utf-8", "replace").decode()


def _without_folders(value: Any, key: str = "") -> Any:
    """Return a recipe's plain values with only the last part of paths: folders may identify people."""
    if isinstance(value, Mapping):
        return {name: _without_folders(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each, key) for each in value]
    if not isinstance(value, str) or not (PurePath(value).is_absolute() or (key in _PATHS and "/" in value)):
        return value
    return PurePath(value).name


def _data_of(recipe: Recipe) -> tuple[CardData, ...]:
    data = recipe.data
    sources = [(one.name, one.root, one.options) for one in data.sources] or [(data.name, data.root, data.options)]
    found = []
    for name, root, options in sources:
        try:
            known = describe(name)
        except CrossreidError:  # from a plugin that is not installed
            found.append(CardData(name=name, title=name, citation=UNKNOWN, licence=UNKNOWN, options=dict(options)))
            continue
        found.append(
            CardData(
                name=name,
                title=known.title,
                citation=str(known.citation) if known.citation else UNKNOWN,
                licence=known.licence or UNKNOWN,
                options=dict(options),
            )
            if not is_synthetic(Path(root))
            else CardData(
                name=name,
                title=f"images rendered by crossreid, in the layout of {known.title}",
                citation="none: these are no images of that data set",
                licence="none needed",
                options=dict(options),
            )
        )
    return tuple(found)


def _start_of(model: EmbeddingModel, recipe: Recipe | None, named: PretrainedNetwork | None) -> CardStart:
    if named is not None:
        return CardStart(weights=str(named), licence=_licence(named.name, named.weights))
    assert recipe is not None
    started = read_start(weights_folder(model.source))
    if started is not None:
        return CardStart(weights=start_in_words(started), licence=UNKNOWN)
    backbone = recipe.method.encoder
    if backbone.weights == "none":
        return CardStart(weights=f"{backbone.name}, drawn at random", licence="none needed")
    name = backbone.weights if backbone.weights == "imagenet" else Path(backbone.weights).name
    return CardStart(weights=f"{backbone.name}, weights {name}", licence=_licence(backbone.name, backbone.weights))


def _licence(backbone: str, weights: str) -> str:
    """Return the licence that timm states for its weights of this name; others are unknown."""
    from timm.models import get_pretrained_cfg

    from crossreid.models.backbone_registry import BACKBONES

    if weights != "imagenet" or backbone in BACKBONES or backbone.startswith("hf-hub:"):
        return UNKNOWN
    try:
        stated = getattr(get_pretrained_cfg(backbone), "license", None)
    except RuntimeError:  # a tag unknown to timm
        stated = None
    return f"{stated}, as timm states; not checked here" if stated else UNKNOWN


def _preprocessing(model: EmbeddingModel) -> CardPreprocessing:
    seen = model.preprocessing
    told = seen.to_json()
    return CardPreprocessing(
        height=seen.height,
        width=seen.width,
        interpolation=seen.interpolation,
        channels=told["colours"],
        mean=seen.mean,
        std=seen.std,
        levels=told.get("levels", "full"),
    )


def _inputs(model: EmbeddingModel, batch: Batch) -> tuple[CardTensor, ...]:
    seen = model.preprocessing
    images = CardTensor(
        name="images",
        dtype="float32",
        shape=(batch, 3, seen.height, seen.width),
        meaning="prepared as preprocessing says",
    )
    kinds = CardTensor(name="modalities", dtype="int64", shape=(batch,), meaning="of each image: 0 visible, 1 infrared")
    return images, kinds


def _outputs(model: EmbeddingModel, batch: Batch) -> tuple[CardTensor, ...]:
    mirrored = ", of the image and its mirror image" if model.flip else ""
    return (
        CardTensor(
            name="embeddings",
            dtype="float32",
            shape=(batch, model.dimension),
            meaning=f"compared by cosine; of length 1{mirrored}",
        ),
        CardTensor(
            name="features",
            dtype="float32",
            shape=(batch, model.dimension),
            meaning="averaged over the images of a tracklet before the mean is brought to length 1",
        ),
    )


def _calibration(calibration: Calibration | None) -> CardCalibration | None:
    if calibration is None:
        return None
    pairs = {
        name: {
            "pairs": measured.pairs,
            "identities": measured.identities,
            "expected calibration error": measured.ece,
            "Brier score": measured.brier,
        }
        for name, measured in calibration.measured.items()
    }
    data = _without_folders(calibration.data)
    return CardCalibration(method=calibration.method, prior=calibration.prior, data=data, pairs=pairs)


def _versions() -> dict[str, str]:
    found = {"crossreid": crossreid.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
