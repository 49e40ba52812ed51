"""`crossreid cluster`: identities in unlabelled embeddings or in a gallery."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, progress_bar, say

if TYPE_CHECKING:
    from crossreid.clustering.crops import Crops
    from crossreid.clustering.thresholds import Thresholds


def cluster(
    embeddings: Annotated[
        Path | None, typer.Argument(help="A folder that `crossreid embed` wrote; with --gallery left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; it must not be there yet.")] = None,
    gallery: Annotated[str | None, typer.Option(help="In place of EMBEDDINGS: a gallery.")] = None,
    method: Annotated[str, typer.Option(help="components, agglomerative or hdbscan.")] = "components",
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COSINE", help="Least cosine of a link, or PAIR=COSINE of a pair of modalities; several times."
        ),
    ] = None,
    probability: Annotated[float | None, typer.Option(help="In its place: calibrated, of one identity.")] = None,
    false_accepts: Annotated[float | None, typer.Option(help="Or a calibrated false-accept rate of pairs.")] = None,
    run: Annotated[Path | None, typer.Option(help="The calibrated run, where it lies no more as it did.")] = None,
    nearest: Annotated[
        int | None,
        typer.Option(min=0, help="Link only those that are each among the so many nearest of the other; 0 links all."),
    ] = None,
    linkage: Annotated[str, typer.Option(help="Of agglomerative: average or complete.")] = "average",
    min_cluster: Annotated[int, typer.Option(min=2, help="Of hdbscan: crops of the smallest cluster.")] = 2,
    min_samples: Annotated[int | None, typer.Option(min=1, help="Of hdbscan: crops that make a place dense.")] = None,
    no_tracklets: Annotated[bool, typer.Option("--no-tracklets", help="Crops of one tracklet may be parted.")] = False,
    no_frames: Annotated[bool, typer.Option("--no-frames", help="Crops of one frame may be joined.")] = False,
    min_size: Annotated[int, typer.Option(min=1, help="Crops of the smallest cluster of manifest and sheets.")] = 2,
    one_per_burst: Annotated[
        bool, typer.Option("--one-per-burst", help="Of each burst, one crop in the manifest.")
    ] = False,
    burst_seconds: Annotated[float, typer.Option(min=0, help="Pause that ends a burst.")] = 5.0,
    duplicate: Annotated[float, typer.Option(help="Cosine from which on crops are near-duplicates.")] = 0.99,
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder below which pictures lie that are not found; several times.")
    ] = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Look for no picture: no manifest, no sheets.")
    ] = False,
    sheets: Annotated[int, typer.Option(min=0, help="Most pages of contact sheets.")] = 10,
    by_index: Annotated[bool, typer.Option("--by-index", help="Let the gallery's own index find the nearest.")] = False,
    write_identities: Annotated[
        bool, typer.Option("--write-identities", help="Name the gallery's entries of clusters without any identity.")
    ] = False,
    token: Annotated[str | None, typer.Option(envvar="MILVUS_TOKEN", help="Of a Milvus cluster.")] = None,
    collection: Annotated[str, typer.Option(help="Of a Milvus cluster.")] = "crossreid",
) -> None:
    """Find identities: join crops into clusters, and write them as a table, a manifest to train on and contact sheets."""
    from crossreid.clustering.by_gallery import searches_of
    from crossreid.clustering.by_gallery import write_identities as name_entries
    from crossreid.clustering.cluster import ClusterOptions
    from crossreid.clustering.cluster import cluster as find_clusters
    from crossreid.clustering.crops import crops_of_folder, crops_of_gallery
    from crossreid.clustering.written import WriteOptions, refuse_present, write_clustering

    if (embeddings is None) == (gallery is None):
        raise CrossreidError("expected either EMBEDDINGS or --gallery. See `crossreid cluster --help`.")
    if out is None:
        raise CrossreidError("--out DIR is needed: the folder for clusters.parquet, manifest.csv and the rest.")
    if gallery is None and (by_index or write_identities):
        raise CrossreidError("--by-index and --write-identities are of --gallery, which is not given.")
    options = ClusterOptions(
        method, nearest, linkage, min_cluster, min_samples, not no_tracklets, not no_frames  # type: ignore[arg-type]
    )  # fmt: skip
    writing = WriteOptions(min_size, one_per_burst, burst_seconds, duplicate, sheets, not no_pictures)
    _refuse_without_meaning(method, linkage, min_cluster, min_samples, nearest, run, probability, false_accepts)
    refuse_present(out)
    with ExitStack() as stack:
        opened = None
        progress = stack.enter_context(progress_bar())
        if gallery is not None:
            from crossreid.galleries import open_gallery

            opened = stack.enter_context(
                open_gallery(gallery, create=False, read_only=not write_identities, token=token, collection=collection)
            )
            crops = crops_of_gallery(opened, advancing(progress, "entries"))
        else:
            assert embeddings is not None
            crops = crops_of_folder(embeddings)
        thresholds = _thresholds(crops, threshold or (), run, probability, false_accepts, method)
        searches = searches_of(opened, crops) if opened is not None and by_index else None
        compared = advancing(progress, "compared")
        found = find_clusters(crops, thresholds, options, searches=searches, advance=compared)
        summary = write_clustering(
            out, crops, found, writing, source=gallery or str(embeddings), images=images or (), searches=searches
        )
        named = None
        if opened is not None and write_identities:
            named = name_entries(opened, crops, found.labels, min_size, advancing(progress, "named"))
    _report(out, summary)
    if named is not None:
        say(f"{gallery}: {named[0]:,} entries of {named[1]:,} clusters have an identity now")


def _refuse_without_meaning(
    method: str, linkage: str, min_cluster: int, min_samples: int | None, nearest: int | None, run: Path | None,
    probability: float | None, false_accepts: float | None,
) -> None:  # fmt: skip
    if method != "agglomerative" and linkage != "average":
        raise CrossreidError(f"--linkage is of --method agglomerative, not of {method}. Leave it out.")
    if method != "hdbscan" and (min_cluster != 2 or min_samples is not None):
        raise CrossreidError(
            f"--min-cluster and --min-samples are of --method hdbscan, not of {method}. Leave them out."
        )
    if method == "hdbscan" and nearest is not None:
        raise CrossreidError("--nearest is of links, which --method hdbscan has none of. Leave it out.")
    if run is not None and probability is None and false_accepts is None:
        raise CrossreidError(f"--run {run}: say what of its calibration is wanted, --probability or --false-accepts.")


def _thresholds(
    crops: Crops, texts: Any, run: Path | None, probability: float | None, false_accepts: float | None, method: str
) -> Thresholds | None:
    from crossreid.clustering.thresholds import pairs_of, stated, thresholds_of

    given = bool(texts) or probability is not None or false_accepts is not None
    if method == "hdbscan":
        if given:
            raise CrossreidError(
                "--method hdbscan takes no threshold: it asks where crops are dense. Leave --threshold, --probability and "
                "--false-accepts out."
            )
        return None
    calibration = None
    where = run or crops.run
    if where is not None and (probability is not None or false_accepts is not None):
        from crossreid.runs.calibrating import read_calibration  # type: ignore[import-not-found, unused-ignore]

        calibration = read_calibration(where)
    return thresholds_of(
        pairs_of(crops.modalities), stated(texts), calibration, probability=probability, false_accepts=false_accepts
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
