"""A clustering as a folder: a table of crops, a manifest to train on, contact sheets, near-duplicates, bursts, a summary.

The folder appears under its name once it is whole.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.clustering.bursts import SECONDS, bursts, one_of_each
from crossreid.clustering.cluster_crops import Clustering
from crossreid.clustering.crops import Crops
from crossreid.clustering.duplicates import COSINE, Duplicate, duplicates
from crossreid.clustering.files_of_crops import FilesOfCrops
from crossreid.clustering.neighbours import Search
from crossreid.clustering.sheets import write_sheets
from crossreid.data.drafts.draft import Draft
from crossreid.data.drafts.draft import write as write_manifest
from crossreid.data.leaks import key_of
from crossreid.data.records import DataError, Modality, Record
from crossreid.errors import CrossreidError
from crossreid.files import replacing, write_json

CLUSTERS, MANIFEST, DUPLICATES, BURSTS, SUMMARY = (
    "clusters.parquet", "manifest.csv", "duplicates.csv", "bursts.csv", "summary.json",
)  # fmt: skip
SHEETS = "sheets"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Options of the written clustering.

    The manifest holds clusters of at least `min_size` crops, with `one_per_burst` one crop per burst, which ends after
    a gap of `burst_seconds` between crops. `duplicate` is the cosine of near-duplicates. `sheets` is the most pages.
    Without `pictures`, no pictures are looked for, so there are no manifest and no sheets. Raises `CrossreidError`
    naming the option.
    """

    min_size: int = 2
    one_per_burst: bool = False
    burst_seconds: float = SECONDS
    duplicate: float = COSINE
    sheets: int = 10
    pictures: bool = True

    def __post_init__(self) -> None:
        if self.min_size < 1 or self.sheets < 0 or not self.burst_seconds >= 0 or not -1 <= self.duplicate <= 1:
            raise CrossreidError(
                f"--min-size {self.min_size}, --sheets {self.sheets}, --burst-seconds {self.burst_seconds}, --duplicate "
                f"{self.duplicate}: expected 1 or more, 0 or more, 0 or more, and a cosine."
            )


def refuse_present(out: Path) -> None:
    """Raise `DataError` if the path exists."""
    if out.exists() or out.is_symlink():
        raise DataError(f"{out} is there already. Remove it, or choose another --out.")


def write_clustering(
    out: Path,
    crops: Crops,
    clustering: Clustering,
    options: WriteOptions | None = None,
    *,
    source: str = "",
    images: Sequence[Path] = (),
    searches: Mapping[int, Search] | None = None,
) -> dict[str, Any]:
    """Write a clustering into the folder `out`, which must not be there, and return its summary.

    Args:
        source: what was clustered, as the summary names it.
        images: folders below which pictures lie whose paths lead nowhere from here.
        searches: as `cluster` takes them, for near-duplicates.

    Raises:
        DataError: there is such a folder, `images` has none, or a manifest cannot name a picture. Nothing is written then.
    """
    options = options or WriteOptions()
    refuse_present(out)
    files = FilesOfCrops(crops, images) if options.pictures else None
    if files is not None and not files.any():
        files = None
    labels = clustering.labels
    numbers = bursts(crops, labels, options.burst_seconds)
    alike = duplicates(crops, files, options.duplicate, searches=searches)
    summary = _summary(crops, clustering, source, numbers, alike)
    with replacing(out) as folder:
        folder.mkdir()
        _write_table(folder / CLUSTERS, crops, clustering, numbers)
        _write_duplicates(folder / DUPLICATES, crops, labels, alike)
        _write_bursts(folder / BURSTS, crops, labels, numbers)
        summary["manifest"] = _write_manifest(folder, crops, labels, numbers, files, options)
        pages = []
        if files is not None and options.sheets:
            pages = write_sheets(folder / SHEETS, crops, labels, files, pages=options.sheets, min_size=options.min_size)
        summary["sheets"] = len(pages)
        write_json(folder / SUMMARY, summary)
    return summary


def _summary(
    crops: Crops, clustering: Clustering, source: str, numbers: np.ndarray, alike: Sequence[Duplicate]
) -> dict[str, Any]:
    sizes, lengths = clustering.sizes, np.bincount(numbers)
    several = lengths[lengths > 1]
    thresholds = clustering.thresholds
    return {
        "source": source,
        "model": crops.model,
        "options": asdict(clustering.options),
        "thresholds": None if thresholds is None else thresholds.to_json(),
        "thresholds_by": None if thresholds is None else thresholds.source,
        "nearest": clustering.nearest,
        "crops": len(crops),
        "nodes": len(clustering.nodes),
        "links": clustering.links,
        "apart": len(clustering.nodes.apart),
        "refused": clustering.refused,
        "clusters": len(sizes),
        "singletons": int((sizes == 1).sum()),
        "noise": clustering.noise,
        "largest": int(sizes[0]),
        "scores": None if clustering.scores is None else clustering.scores.to_json(),
        "bursts": {"bursts": len(several), "crops": int(several.sum())},
        "duplicates": dict(sorted(Counter(pair.kind for pair in alike).items())),
    }


def _write_table(path: Path, crops: Crops, clustering: Clustering, numbers: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    times = [None if np.isnan(time) else datetime.fromtimestamp(time, UTC) for time in crops.times.tolist()]
    columns = {
        "id": pa.array(crops.ids, pa.string()),
        "path": pa.array([path or None for path in crops.paths], pa.string()),
        "box": pa.array(crops.boxes, pa.list_(pa.int32())),
        "cluster": pa.array(clustering.labels, pa.int64()),
        "size": pa.array(clustering.sizes[clustering.labels], pa.int64()),
        "burst": pa.array(numbers, pa.int64()),
        "identity": pa.array(crops.identities, pa.string()),
        "camera": pa.array(crops.cameras, pa.int64()),
        "modality": pa.array([Modality(value).name.lower() for value in crops.modalities.tolist()], pa.string()),
        "time": pa.array(times, pa.timestamp("us", tz="UTC")),
        "tracklet": pa.array(crops.tracklets, pa.string()),
        "frame": pa.array(crops.frames, pa.int64()),
    }
    parquet.write_table(pa.table(columns), path, compression="zstd")


def _write_duplicates(path: Path, crops: Crops, labels: np.ndarray, alike: Sequence[Duplicate]) -> None:
    names = ("kind", "cosine", "correlation", "id", "other", "cluster", "other_cluster", "identity", "other_identity")
    rows = [
        (
            pair.kind, f"{pair.cosine:.6f}", "" if pair.correlation is None else f"{pair.correlation:.4f}",
            crops.ids[pair.one], crops.ids[pair.other], labels[pair.one], labels[pair.other],
            crops.identities[pair.one] or "", crops.identities[pair.other] or "",
        )
        for pair in alike
    ]  # fmt: skip
    _write_rows(path, names, rows)


def _write_bursts(path: Path, crops: Crops, labels: np.ndarray, numbers: np.ndarray) -> None:
    several = np.flatnonzero(np.bincount(numbers)[numbers] > 1)
    rows = []
    for row in several[np.lexsort((crops.times[several], numbers[several]))].tolist():
        time = crops.times[row]
        moment = "" if np.isnan(time) else datetime.fromtimestamp(time, UTC).isoformat()
        frame = crops.frames[row] if crops.frames[row] >= 0 else ""
        rows.append((numbers[row], labels[row], crops.cameras[row], moment, frame, crops.ids[row]))
    _write_rows(path, ("burst", "cluster", "camera", "time", "frame", "id"), rows)


def _write_rows(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows(rows)


def _write_manifest(
    folder: Path,
    crops: Crops,
    labels: np.ndarray,
    numbers: np.ndarray,
    files: FilesOfCrops | None,
    options: WriteOptions,
) -> dict[str, int] | None:
    """Counts of the manifest and of what it leaves out; None where there is none."""
    if files is None:
        return None
    large = np.bincount(labels)[labels] >= options.min_size
    kept = large & one_of_each(crops, numbers) if options.one_per_burst else large
    left_out = {"small": int((~large).sum()), "burst": int((large & ~kept).sum()), "missing": 0, "repeated": 0}
    rows: list[tuple[Record, str]] = []
    seen = set()
    for row in np.flatnonzero(kept)[np.argsort(labels[kept], kind="stable")].tolist():
        record = files.record(row, f"cluster-{labels[row]:06}")
        if record is None:
            left_out["missing"] += 1
        elif (key := key_of(record)) in seen:
            left_out["repeated"] += 1  # a picture under two ids of a gallery
        else:
            seen.add(key)
            rows.append((record, ""))
    if rows:
        write_manifest(Draft(folder, tuple(rows), (), ()), folder / MANIFEST)
    return {"images": len(rows), "identities": len({record.identity for record, _ in rows}), **left_out}
