"""Identities in embeddings: crops are read, thresholds determined, and clusters built, written, and named in a gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.clustering.bursts import SECONDS
from crossreid.clustering.by_gallery import searches_of
from crossreid.clustering.by_gallery import write_identities as write_names
from crossreid.clustering.cluster_crops import NO_THRESHOLD, Clustering, ClusterOptions, Method, cluster_crops
from crossreid.clustering.crops import Crops, crops_of_folder, crops_of_gallery
from crossreid.clustering.duplicates import COSINE
from crossreid.clustering.linkage import Linkage
from crossreid.clustering.thresholds import Thresholds, pairs_of, stated, thresholds_of
from crossreid.clustering.written import WriteOptions, refuse_present, write_clustering
from crossreid.data.addresses import place_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.galleries.calibrations import calibration_for, calibration_for_folder, checked
from crossreid.galleries.gallery import Gallery

Threshold = float | str | Sequence[str] | Mapping[str, float]
# Called with what is counted (entries, compared, named): something that is called with (0, total) and with counts.
Advances = Callable[[str], Callable[..., object]]


@dataclass(frozen=True, eq=False, slots=True)
class Clustered:
    """The crops, their clustering, and the content of `summary.json`, None if nothing was written.

    `named` is how many entries of how many clusters got an identity, None if not requested.
    """

    crops: Crops
    clustering: Clustering
    summary: dict[str, Any] | None
    named: tuple[int, int] | None = None


def cluster(
    embeddings: Path | str | Gallery,
    out: Path | str | None = None,
    *,
    threshold: Threshold | None = None,
    probability: float | None = None,
    false_accept_rate: float | None = None,
    calibration: Path | str | Calibration | None = None,
    method: Method = "components",
    nearest: int | None = None,
    linkage: Linkage = "average",
    min_cluster: int = 2,
    min_samples: int | None = None,
    tracklets: bool = True,
    frames: bool = True,
    min_size: int = 2,
    one_per_burst: bool = False,
    burst_seconds: float = SECONDS,
    duplicate: float = COSINE,
    images: Sequence[Path] = (),
    pictures: bool = True,
    sheets: int = 10,
    by_index: bool = False,
    write_identities: bool = False,
    advances: Advances = lambda what: lambda *counts: None,
) -> Clustered:
    """Cluster crops, ideally one cluster per identity: `crossreid cluster`.

    Args:
        embeddings: a folder written by `crossreid embed`, or an open gallery.
        out: the folder to write, which must not exist; without it nothing is written.
        threshold: the least cosine of a link, or one by pair of modalities, `{"visible-infrared": 0.4}`; texts as
            `--threshold` takes them do as well.
        probability: instead, the cosine from which two crops show one identity with this calibrated probability;
            `false_accept_rate`: or the cosine reached by this fraction of pairs of different identities.
        calibration: a run's folder, a calibration's file, or a loaded one; by default that of the embeddings' run, of
            the embeddings, or of the gallery. Tracklets are joined by its thresholds for tracklets, if it has them.
        method, nearest, linkage, min_cluster, min_samples, tracklets, frames: as in `ClusterOptions`.
        min_size, one_per_burst, burst_seconds, duplicate, pictures, sheets: as in `WriteOptions`.
        images: folders to search for pictures whose paths do not exist here.
        by_index: find nearest neighbours with the gallery's own index.
        write_identities: name the gallery entries of clusters of at least `min_size` in which none has an identity.
        advances: for `entries`, `compared` and `named`, returns a callable for (0, total) and then counts.

    Raises:
        CrossreidError: incompatible options, no threshold, a calibration of another model, crops that contradict
            one another, or an existing folder.
    """
    options = ClusterOptions(method, nearest, linkage, min_cluster, min_samples, tracklets, frames)
    writing = WriteOptions(min_size, one_per_burst, burst_seconds, duplicate, sheets, pictures)
    gallery = embeddings if isinstance(embeddings, Gallery) else None
    cosines = _texts(threshold)
    _refuse_without_meaning(options, cosines, calibration, probability, false_accept_rate)
    if gallery is None and (by_index or write_identities):
        raise CrossreidError("--by-index and --write-identities are for --gallery, which is not given.")
    if not pictures and images:
        raise CrossreidError("--images says where pictures are, but --no-pictures that none are wanted. Leave one out.")
    if out is not None:
        refuse_present(Path(out))
    if isinstance(embeddings, Gallery):
        crops, source = crops_of_gallery(embeddings, advances("entries")), embeddings.location
    else:
        crops, source = crops_of_folder(place_of(embeddings)), str(embeddings)
    thresholds = None
    if method != "hdbscan":
        known = None
        if probability is not None or false_accept_rate is not None:
            known = _calibration(embeddings, crops, calibration)
        thresholds = _thresholds(crops, cosines, known, probability, false_accept_rate, tracklets)
    searches = searches_of(gallery, crops) if gallery is not None and by_index else None
    found = cluster_crops(crops, thresholds, options, searches=searches, advance=advances("compared"))
    summary = named = None
    if out is not None:
        summary = write_clustering(Path(out), crops, found, writing, source=source, images=images, searches=searches)
    if gallery is not None and write_identities:
        named = write_names(gallery, crops, found.labels, min_size, advances("named"))
    return Clustered(crops, found, summary, named)


def _texts(threshold: Threshold | None) -> list[str]:
    """Thresholds as `--threshold` takes them."""
    if threshold is None:
        return []
    if isinstance(threshold, Mapping):
        return [f"{pair}={value}" for pair, value in threshold.items()]
    return list(threshold) if isinstance(threshold, Iterable) and not isinstance(threshold, str) else [str(threshold)]


def _refuse_without_meaning(
    options: ClusterOptions, cosines: Sequence[str], calibration: object, probability: float | None,
    false_accept_rate: float | None,
) -> None:  # fmt: skip
    method, by_calibration = options.method, probability is not None or false_accept_rate is not None
    if method != "agglomerative" and options.linkage != "average":
        raise CrossreidError(f"--linkage is for --method agglomerative, not {method}. Leave it out.")
    if method != "hdbscan" and (options.min_cluster != 2 or options.min_samples is not None):
        raise CrossreidError(f"--min-cluster and --min-samples are for --method hdbscan, not {method}. Leave them out.")
    if method == "hdbscan" and options.nearest is not None:
        raise CrossreidError("--nearest is for links, which --method hdbscan does not have. Leave it out.")
    if method == "hdbscan" and (cosines or by_calibration):
        raise CrossreidError(NO_THRESHOLD)
    if calibration is not None and not by_calibration:
        raise CrossreidError("--calibration: give --probability or --false-accept-rate with it.")


def _calibration(
    embeddings: Path | str | Gallery, crops: Crops, named: Path | str | Calibration | None
) -> Calibration | None:
    where = embeddings.location if isinstance(embeddings, Gallery) else str(embeddings)
    if isinstance(named, Calibration):
        return checked(named, crops.model, "the calibration", where)
    path = None if named is None else Path(named)
    if isinstance(embeddings, Gallery):
        return calibration_for(embeddings, path)
    return calibration_for_folder(place_of(embeddings), crops.model, path)


def _thresholds(
    crops: Crops, cosines: Sequence[str], calibration: Calibration | None, probability: float | None,
    false_accept_rate: float | None, tracklets: bool,
) -> Thresholds:  # fmt: skip
    pairs = pairs_of(crops.modalities)
    return thresholds_of(
        pairs, stated(cosines, pairs), calibration, probability=probability, false_accept_rate=false_accept_rate,
        tracklets=tracklets and any(name is not None for name in crops.tracklets),
    )  # fmt: skip
