"""Information probes: what can be read from a representation, where the truth is known.

On a rendered world, every image's factors are known (`crossreid.analysis.factors`). A probe is a small model that
predicts one factor from frozen features; it is fitted on some identities and tested on others, all unseen in training.
The result is a share: of a number's variance (R^2), or of a category's entropy, 1 - cross-entropy / that of guessing by
frequency. The latter is the usable information of Xu et al. ("A theory of usable information under computational
constraints", ICLR 2020) for that family of probes: a lower bound of mutual information that needs no estimator. As that
theory requires, a probe may ignore its input: if it is no better than guessing on the images for choosing its
regularisation, it guesses, and reads 0. Identity has no classes in common between identities: its probe is fitted on
half of the images of each identity, or on its visible images, and tested on the rest.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor

from crossreid.analysis.factors import Factors, names_of, numbers_of
from crossreid.data.records import INFRARED, VISIBLE, DataError

PROBES = ("linear", "mlp")
_RIDGE = (1e0, 1e1, 1e2, 1e3, 1e4)
_LOGISTIC = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_FARTHEST = 8.0  # standard deviations
_EPOCHS = 30  # of an MLP: few, as part of its regularisation
_DECAY = (0.6, 6.0)  # of the MLP's weights


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of a factor one probe reads: the `share` of its variance or entropy, and `right`, its R^2 or accuracy.

    `stream`, `space` (v or z) and `modality` are what it was read from; modality is `both` if images of both were used.
    """

    stream: str
    space: str
    modality: str
    probe: str
    group: str
    factor: str
    share: float
    right: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_all(
    streams: Mapping[str, tuple[np.ndarray, np.ndarray]],
    factors: Factors,
    *,
    probes: Sequence[str] = PROBES,
    seed: int = 0,
) -> list[Reading]:
    """Read every factor from v and z of each stream: `streams` maps its name to v `(N, W)` and z `(N, Z)`.

    Shared factors, pose and camera are read from the images of one modality at a time; view-specific factors from
    images that show them, and from those that do not, as a control that must give 0.
    """
    readings: list[Reading] = []
    for stream, spaces in streams.items():
        for space, features in zip(("v", "z"), spaces, strict=True):
            for modality in (VISIBLE, INFRARED):
                own = factors.modalities == modality
                part = factors.take(own)
                where = (stream, space, modality.name.lower())
                readings += _read(features[own], part, where, probes, seed)
                readings += _read_identity(features[own], part, where, probes, seed)
            where = (stream, space, "both")
            readings += _read(features, factors, where, probes, seed)
            readings += _read_identity(features, factors, where, probes, seed)
    return readings


def _read(
    features: np.ndarray, factors: Factors, where: tuple[str, str, str], probes: Sequence[str], seed: int
) -> Iterator[Reading]:
    fit, tune, test = divide(factors.identities, seed)
    scaled = standardised(features, fit | tune)
    groups = ("modality",) if where[2] == "both" else ("shared", "visible-only", "infrared-only", "camera", "pose")
    for group in groups:
        for probe in probes:
            if numbers := numbers_of(factors, group):
                targets = np.concatenate(list(numbers.values()), axis=1)
                shares = _regress(probe, scaled, targets, fit, tune, test, seed)
                for factor, part in zip(numbers, _split(shares, numbers), strict=True):
                    yield Reading(*where, probe, group, factor, float(part.mean()), float(part.mean()))
            for factor, codes in names_of(factors, group).items():
                share, right = classify(probe, scaled, codes, fit, tune, test, seed)
                yield Reading(*where, probe, group, factor, share, right)


def _read_identity(
    features: np.ndarray, factors: Factors, where: tuple[str, str, str], probes: Sequence[str], seed: int
) -> Iterator[Reading]:
    """Fit on every other image of each identity and camera and test on the rest; across modalities, fit on visible
    images and test on infrared ones. The regularisation is chosen on every other test image, which is then not used for
    testing.
    """
    codes = np.unique(factors.identities, return_inverse=True)[1]
    if where[2] == "both":
        group, fit = "identity across", factors.modalities == VISIBLE
    else:
        group, fit = "identity", _alternating(codes, factors.columns["camera"])
    asked = ~fit
    tune = asked & (np.cumsum(asked) % 2 == 0)
    scaled = standardised(features, fit)
    for probe in probes:
        share, right = classify(probe, scaled, codes, fit, tune, asked & ~tune, seed, again=False)
        yield Reading(*where, probe, group, group, share, right)


def divide(identities: np.ndarray, seed: int, *, least: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return masks `(N,)` of images to fit on, to choose the regularisation on, and to test on: 50, 15 and 35 % of
    identities.

    Raises `DataError` for fewer than `least` identities, which is 4 or more.
    """
    known = np.unique(identities)
    if len(known) < least:
        raise DataError(f"expected at least {least} identities that were not trained on, found {len(known)}.")
    order = np.random.default_rng(seed).permutation(known)
    first, second = round(0.5 * len(known)), round(0.65 * len(known))
    fit, tune, test = (np.isin(identities, part) for part in (order[:first], order[first:second], order[second:]))
    return fit, tune, test


def _regress(
    probe: str, x: np.ndarray, y: np.ndarray, fit: np.ndarray, tune: np.ndarray, test: np.ndarray, seed: int
) -> np.ndarray:
    """Return R^2 `(targets,)` on the images of `test`."""
    known = fit | tune
    y = (y - y[known].mean(0)) / (y[known].std(0) + 1e-12)
    models = [Ridge(alpha=strength) for strength in _RIDGE] if probe == "linear" else _mlps(MLPRegressor, seed)

    def predicted(model: Any, rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
        with _quiet():
            found: np.ndarray = model.fit(x[rows], y[rows].squeeze()).predict(x[asked]).reshape(y[asked].shape)
        return found

    errors = np.stack([((predicted(model, fit, tune) - y[tune]) ** 2).mean(0) for model in models])
    best = int(errors.mean(1).argmin())
    found = predicted(models[best], known if probe == "linear" else fit, test)
    found[:, errors[best] >= (y[tune] ** 2).mean(0)] = 0
    share: np.ndarray = 1 - ((found - y[test]) ** 2).sum(0) / (y[test] ** 2).sum(0)
    return share


def classify(
    probe: str, x: np.ndarray, codes: np.ndarray, fit: np.ndarray, tune: np.ndarray, test: np.ndarray, seed: int,
    *, again: bool = True, strengths: Sequence[float] = _LOGISTIC,
) -> tuple[float, float]:  # fmt: skip
    """Return the share of entropy read, and accuracy, on the images of `test`; `again`: finally also fit on `tune`."""
    size = int(codes.max()) + 1
    if probe == "linear":
        models = [LogisticRegression(C=strength, max_iter=200, tol=1e-3) for strength in strengths]
    else:
        models = _mlps(MLPClassifier, seed)

    def log_p(model: Any, rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
        with _quiet():
            return np.log(_probabilities(model.fit(x[rows], codes[rows]), x[asked], size))

    def loss(found: np.ndarray, asked: np.ndarray) -> float:
        return float(-found[np.arange(asked.sum()), codes[asked]].mean())

    losses = [loss(log_p(model, fit, tune), tune) for model in models]
    known = fit | tune if again and probe == "linear" else fit
    frequency = (np.bincount(codes[known], minlength=size) + 1) / (known.sum() + size)
    guessed = np.broadcast_to(np.log(frequency), (len(codes), size))
    better = min(losses) < loss(guessed[tune], tune)
    found = log_p(models[int(np.argmin(losses))], known, test) if better else guessed[test]
    return 1 - loss(found, test) / loss(guessed[test], test), float((found.argmax(1) == codes[test]).mean())


def _mlps(kind: type, seed: int) -> list[Any]:
    return [
        kind(
            hidden_layer_sizes=(32,),
            alpha=decay,
            batch_size=128,
            max_iter=_EPOCHS,
            learning_rate_init=4e-3,
            random_state=seed,
        )
        for decay in _DECAY
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings: few epochs are part of the regularisation, and identities are many classes with few images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes")
        warnings.filterwarnings("ignore", message="Got `batch_size`")  # fewer images than a batch
        yield


def _probabilities(model: Any, x: np.ndarray, size: int) -> np.ndarray:
    """Return p `(N, size)`, with a small value for classes that the model has never seen."""
    p = np.full((len(x), size), 1e-6)
    p[:, model.classes_] += model.predict_proba(x)
    return p / p.sum(1, keepdims=True)


def standardised(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Standardise to `(N, D)` float64 by mean and deviation of the rows in the mask `known`; clip at 8 deviations."""
    mean, spread = features[known].mean(0), features[known].std(0)
    scaled = (features - mean) / np.where(spread > 1e-8, spread, 1)
    # A coordinate that hardly varied during fitting must not dominate a linear probe in the test.
    clipped: np.ndarray = np.clip(scaled, -_FARTHEST, _FARTHEST).astype(np.float64)
    return clipped


def _split(shares: np.ndarray, numbers: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return np.split(shares, np.cumsum([part.shape[1] for part in numbers.values()])[:-1])


def _alternating(codes: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """Mark every other image of each identity and camera, the first of them True."""
    seen: dict[tuple[int, str], int] = {}
    mask = np.zeros(len(codes), dtype=bool)
    for row, key in enumerate(zip(codes.tolist(), cameras.tolist(), strict=True)):
        mask[row] = seen.get(key, 0) % 2 == 0
        seen[key] = seen.get(key, 0) + 1
    return mask
