"""What a model card holds: the form of `FILE.card.json`, by which it is written and read.

A card is data of its own: whoever has it needs neither the run nor this package. What is not known is `unknown` in
words, and never left out.
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
    """The exported file: its name without folders, SHA-256 and size in bytes (null where it was not there to be read)."""

    name: str
    target: Target
    precision: ExportPrecision
    sha256: Digest | None
    size: int | None = Field(ge=0)


class CardNetwork(Options):
    """The network: `fingerprint` tells whose embeddings may be compared; `trained` how far the run was, empty where finished."""

    method: str
    title: str
    dimension: int = Field(ge=1)
    fingerprint: Digest
    flip: bool
    trained: str = ""


class CardData(Options):
    """A data set that it was trained on, as the catalogue has it."""

    name: str
    title: str
    citation: str
    licence: str
    options: dict[str, Any]


class CardStart(Options):
    """What training started from, and under which licence that is."""

    weights: str
    licence: str


class CardPreprocessing(Options):
    """What is done to a decoded image, in this order: resized, values 0 to 1, less `mean`, by `std`, channels first."""

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
    """A score by a protocol, fractions in [0, 1]; `conditions` is what it must not be quoted without."""

    protocol: str
    setting: str
    figures: dict[str, Share]
    conditions: str


class CardScores(Options):
    """Scores of the test or, where that is all there is, of the best validation; `note` says which, and what is wrong with them."""

    of: Literal["test", "validation", "nothing"]
    note: str
    rows: tuple[CardScore, ...] = ()


class CardMeasured(Options):
    """What was measured of a part of the test: queries of one camera, or one direction between modalities."""

    part: str
    figure: str
    value: float
    queries: int | None = Field(None, ge=0)


class CardCalibration(Options):
    """How scores become probabilities: prior, the data of the pairs and, by pair of modalities, what was measured."""

    method: str
    prior: float | None
    data: dict[str, Any]
    pairs: dict[str, dict[str, float]]


class CardAgreement(Options):
    """The largest difference from torch in any value of any embedding, on so many images."""

    difference: float = Field(ge=0)
    images: int = Field(ge=1)
    of: str


class CardFidelity(Options):
    """What a lower precision costs against float32, as `Fidelity` has it; `scores` are (float32, this file)."""

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
