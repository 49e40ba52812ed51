"""`crossreid cluster`: identities in unlabelled embeddings or in a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, progress_bar, say

if TYPE_CHECKING:
    from rich.progress import Progress

    from crossreid.clustering.cluster import ClusterOptions
    from crossreid.clustering.crops import Crops
    from crossreid.clustering.thresholds import Thresholds
    from crossreid.clustering.written import WriteOptions
    from crossreid.galleries import Gallery

    Calibrated = tuple[Path | None, float | None, float | None]  # run, probability, false-accept rate


Embedded = Annotated[
    Path | None, typer.Argument(help="A folder that `crossreid embed` wrote; with --gallery left out.")
]
Cosines = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COSINE", help="Least cosine of a link, or PAIR=COSINE of a pair of modalities; several times."
    ),
]
Nearest = Annotated[
    int | None,
    typer.Option(min=0, help="Link only those that are each among the so many nearest of the other; 0 links all."),
]
Images = Annotated[
    list[Path] | None, typer.Option(help="Folder below which pictures lie that are not found; several times.")
]
NoPictures = Annotated[bool, typer.Option("--no-pictures", help="Look for no picture: no manifest, no sheets.")]
ByIndex = Annotated[bool, typer.Option("--by-index", help="Let the gallery's own index find the nearest.")]
OnePerBurst = Annotated[bool, typer.Option("--one-per-burst", help="Of each burst, one crop in the manifest.")]
WriteIdentities = Annotated[
    bool, typer.Option("--write-identities", help="Name the gallery's entries of clusters without any identity.")
]


def cluster(
    embeddings: Embedded = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; it must not be there yet.")] = None,
    gallery: Annotated[str | None, typer.Option(help="In place of EMBEDDINGS: a gallery.")] = None,
    method: Annotated[str, typer.Option(help="components, agglomerative or hdbscan.")] = "components",
    threshold: Cosines = None,
    probability: Annotated[float | None, typer.Option(help="In its place: calibrated, of one identity.")] = None,
    false_accepts: Annotated[float | None, typer.Option(help="Or a calibrated false-accept rate of pairs.")] = None,
    run: Annotated[Path | None, typer.Option(help="The calibrated run, where it lies no more as it did.")] = None,
    nearest: Nearest = None,
    linkage: Annotated[str, typer.Option(help="Of agglomerative: average or complete.")] = "average",
    min_cluster: Annotated[int, typer.Option(min=2, help="Of hdbscan: crops of the smallest cluster.")] = 2,
    min_samples: Annotated[int | None, typer.Option(min=1, help="Of hdbscan: crops that make a place dense.")] = None,
    no_tracklets: Annotated[bool, typer.Option("--no-tracklets", help="Crops of one tracklet may be parted.")] = False,
    no_frames: Annotated[bool, typer.Option("--no-frames", help="Crops of one frame may be joined.")] = False,
    min_size: Annotated[int, typer.Option(min=1, help="Crops of the smallest cluster of manifest and sheets.")] = 2,
    one_per_burst: OnePerBurst = False,
    burst_seconds: Annotated[float, typer.Option(min=0, help="Pause that ends a burst.")] = 5.0,
    duplicate: Annotated[float, typer.Option(help="Cosine from which on crops are near-duplicates.")] = 0.99,
    images: Images = None,
    no_pictures: NoPictures = False,
    sheets: Annotated[int, typer.Option(min=0, help="Most pages of contact sheets.")] = 10,
    by_index: ByIndex = False,
    write_identities: WriteIdentities = False,
    token: Annotated[str | None, typer.Option(envvar="MILVUS_TOKEN", help="Of a Milvus cluster.")] = None,
    collection: Annotated[str, typer.Option(help="Of a Milvus cluster.")] = "crossreid",
) -> None:
    """Find identities: join crops into clusters, and write them as a table, a manifest to train on and contact sheets."""
    from crossreid.clustering.cluster import ClusterOptions
    from crossreid.clustering.written import WriteOptions, refuse_present

    if (embeddings is None) == (gallery is None):
        raise CrossreidError("expected either EMBEDDINGS or --gallery. See `crossreid cluster --help`.")
    if out is None:
        raise CrossreidError("--out DIR is needed: the folder for clusters.parquet, manifest.csv and the rest.")
    if gallery is None and (by_index or write_identities):
        raise CrossreidError("--by-index and --write-identities are of --gallery, which is not given.")
    if no_pictures and images:
        raise CrossreidError("--images says where pictures lie, and --no-pictures that none are wanted. Leave one out.")
    options = ClusterOptions(
        method, nearest, linkage, min_cluster, min_samples, not no_tracklets, not no_frames  # type: ignore[arg-type]
    )  # fmt: skip
    writing = WriteOptions(min_size, one_per_burst, burst_seconds, duplicate, sheets, not no_pictures)
    calibrated = (run, probability, false_accepts)
    _refuse_without_meaning(options, threshold or (), *calibrated)
    refuse_present(out)
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        opened = None
        if gallery is not None:
            from crossreid.galleries import open_gallery

            opened = stack.enter_context(
                open_gallery(gallery, create=False, read_only=not write_identities, token=token, collection=collection)
            )
        named = _cluster(
            embeddings, opened, out, options, writing, threshold or (), calibrated, images or (), by_index,
            write_identities, progress,
        )  # fmt: skip
    if named is not None:
        say(f"{gallery}: {named[0]:,} entries of {named[1]:,} clusters have an identity now")


def _cluster(
    embeddings: Path | None, gallery: Gallery | None, out: Path, options: ClusterOptions, writing: WriteOptions,
    cosines: Sequence[str], calibrated: Calibrated, images: Sequence[Path], by_index: bool, write_identities: bool,
    progress: Progress,
) -> tuple[int, int] | None:  # fmt: skip
    """Cluster and write; how many entries of how many clusters were named, None where none were to be."""
    from crossreid.clustering import by_gallery
    from crossreid.clustering.cluster import cluster as find_clusters
    from crossreid.clustering.crops import crops_of_folder, crops_of_gallery
    from crossreid.clustering.written import write_clustering

    if gallery is not None:
        crops = crops_of_gallery(gallery, advancing(progress, "entries"))
    else:
        assert embeddings is not None
        crops = crops_of_folder(embeddings)
    thresholds = None if options.method == "hdbscan" else _thresholds(crops, cosines, *calibrated)
    searches = by_gallery.searches_of(gallery, crops) if gallery is not None and by_index else None
    found = find_clusters(crops, thresholds, options, searches=searches, advance=advancing(progress, "compared"))
    source = str(embeddings) if gallery is None else gallery.location
    summary = write_clustering(out, crops, found, writing, source=source, images=images, searches=searches)
    _report(out, summary)
    if gallery is None or not write_identities:
        return None
    return by_gallery.write_identities(gallery, crops, found.labels, writing.min_size, advancing(progress, "named"))


def _refuse_without_meaning(
    options: ClusterOptions, cosines: Sequence[str], run: Path | None, probability: float | None,
    false_accepts: float | None,
) -> None:  # fmt: skip
    method = options.method
    if method != "agglomerative" and options.linkage != "average":
        raise CrossreidError(f"--linkage is of --method agglomerative, not of {method}. Leave it out.")
    if method != "hdbscan" and (options.min_cluster != 2 or options.min_samples is not None):
        raise CrossreidError(
            f"--min-cluster and --min-samples are of --method hdbscan, not of {method}. Leave them out."
        )
    if method == "hdbscan" and options.nearest is not None:
        raise CrossreidError("--nearest is of links, which --method hdbscan has none of. Leave it out.")
    if method == "hdbscan" and (cosines or probability is not None or false_accepts is not None):
        raise CrossreidError(
            "--method hdbscan takes no threshold: it asks where crops are dense. Leave --threshold, --probability and "
            "--false-accepts out."
        )
    if run is not None and probability is None and false_accepts is None:
        raise CrossreidError(f"--run {run}: say what of its calibration is wanted, --probability or --false-accepts.")


def _thresholds(
    crops: Crops, cosines: Sequence[str], run: Path | None, probability: float | None, false_accepts: float | None
) -> Thresholds:
    from crossreid.clustering.thresholds import pairs_of, stated, thresholds_of

    calibration = None
    where = run or crops.run
    if where is not None and (probability is not None or false_accepts is not None):
        from crossreid.runs.calibrating import read_calibration  # type: ignore[import-not-found, unused-ignore]

        calibration = read_calibration(where)
    pairs = pairs_of(crops.modalities)
    return thresholds_of(
        pairs, stated(cosines, pairs), calibration, probability=probability, false_accepts=false_accepts
    )


def _report(out: Path, summary: dict[str, Any]) -> None:
    say(
        f"{summary['crops']:,} crops: {summary['clusters']:,} clusters, {summary['singletons']:,} of them of one crop, the largest "
        f"of {summary['largest']:,}"
    )
    if summary["apart"]:
        say(
            f"kept apart: {summary['apart']:,} pairs that one frame shows; links refused for it: {summary['refused']:,}"
        )
    if (scores := summary["scores"]) is not None:
        ami = "" if scores["ami"] is None else f", AMI {scores['ami']:.3f}"
        say(
            f"against {scores['identities']:,} known identities of {scores['images']:,} crops: ARI {scores['ari']:.3f}{ami}, "
            f"BCubed P {scores['bcubed_precision']:.3f} R {scores['bcubed_recall']:.3f} F {scores['bcubed_f']:.3f}, pairwise P "
            f"{scores['pairwise_precision']:.3f} R {scores['pairwise_recall']:.3f} F {scores['pairwise_f']:.3f}"
        )
    kinds = ", ".join(f"{count:,} of the same {kind}" for kind, count in summary["duplicates"].items()) or "none"
    say(f"near-duplicates: {kinds}; bursts: {summary['bursts']['bursts']:,} of {summary['bursts']['crops']:,} crops")
    if (manifest := summary["manifest"]) is None:
        say(
            "no picture was looked for or found from here: no manifest, no sheets. --images FOLDER says where they lie."
        )
    else:
        left_out = ", ".join(
            f"{manifest[name]:,} {why}"
            for name, why in (
                ("small", "in small clusters"), ("burst", "of bursts"), ("missing", "not found"), ("repeated", "there already"),
            )
            if manifest[name]
        )  # fmt: skip
        say(
            f"manifest: {manifest['images']:,} images of {manifest['identities']:,} clusters"
            + (f"; left out: {left_out}" if left_out else "")
        )
    say(f"wrote {out}")
