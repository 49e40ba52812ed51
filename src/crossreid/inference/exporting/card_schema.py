"""The content of a model card: the schema by which `FILE.card.json` is written and read.

A card stands alone: its readers need neither the run nor this package. Unknown values are stated as `unknown`, and
never left out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from crossreid.inference.exporting.exported import ExportPrecision, Target
from crossreid.options import Options

FORMAT: Literal["crossreid-card-1"] = "crossreid-card-1"
UNKNOWN = "unknown"
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Batch = int | Literal["B"]
Share = Annotated[float, Field(ge=0, le=1)]


class CardFile(Options):
    """The exported file: its name without folders, SHA-256 and size in bytes (null if it could not be read)."""

    name: str
    target: Target
    precision: ExportPrecision
    sha256: Digest | None
    size: int | None = Field(ge=0)


class CardNetwork(Options):
    """The network. Embeddings with the same `fingerprint` are comparable; `trained` is an unfinished run's progress."""

    method: str
    title: str
    dimension: int = Field(ge=1)
    fingerprint: Digest
    flip: bool
    trained: str = ""


class CardData(Options):
    """A data set that it was trained on, as in the catalogue."""

    name: str
    title: str
    citation: str
    licence: str
    options: dict[str, Any]


class CardStart(Options):
    """The weights that training started from, and their licence."""

    weights: str
    licence: str


class CardPreprocessing(Options):
    """Preprocessing of a decoded image, in order: resize, scale to [0, 1], subtract `mean`, divide by `std`, to CHW."""

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    interpolation: Literal["bilinear", "bicubic", "lanczos"]
    antialiased: Literal[True] = True
    keeps_aspect_ratio: Literal[False] = False
    channels: Literal["RGB"]
    layout: Literal["NCHW"] = "NCHW"
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    levels: Any = "full"


class CardTensor(Options):
    """An input or an output; `B` stands for any size of batch."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[Batch, ...]
    meaning: str


class CardScore(Options):
    """Scores by a protocol, fractions in [0, 1]; they must not be quoted without `conditions`."""

    protocol: str
    setting: str
    figures: dict[str, Share]
    conditions: str


class CardScores(Options):
    """Scores of the test or, failing that, of the best validation; `note` says which, and states their limitations."""

    of: Literal["test", "validation", "nothing"]
    note: str
    rows: tuple[CardScore, ...] = ()


class CardMeasured(Options):
    """Measurements on a part of the test: queries of one camera, or one direction between modalities."""

    part: str
    figure: str
    value: float
    queries: int | None = Field(None, ge=0)


class CardCalibration(Options):
    """How scores become probabilities: the prior, the data of the pairs and, per pair of modalities, measurements."""

    method: str
    prior: float | None
    data: dict[str, Any]
    pairs: dict[str, dict[str, float]]


class CardAgreement(Options):
    """The largest difference from torch in any value of any embedding, on this many images."""

    difference: float = Field(ge=0)
    images: int = Field(ge=1)
    of: str


class CardFidelity(Options):
    """The cost of a lower precision against float32, as in `Fidelity`; `scores` are (float32, this file)."""

    mean_cosine: float
    least_cosine: float
    images: int
    scores: dict[str, tuple[float, float]]
    protocol: str
    calibrated_on: int


class CardText(Options):
    title: str
    text: str


class Card(Options):
    """A model card."""

    format: Literal["crossreid-card-1"] = FORMAT
    name: str
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    file: CardFile
    network: CardNetwork
    recipe: dict[str, Any] | None = Field(
        description="Whole and resolved, paths without their folders; null: not trained here."
    )
    data: tuple[CardData, ...]
    start: CardStart
    preprocessing: CardPreprocessing
    inputs: tuple[CardTensor, ...]
    outputs: tuple[CardTensor, ...]
    scores: CardScores
    measured: tuple[CardMeasured, ...]
    calibration: CardCalibration | None
    agreement: CardAgreement
    fidelity: CardFidelity | None
    intended_use: tuple[CardText, ...]
    known_failures: tuple[CardText, ...]
    versions: dict[str, str]
