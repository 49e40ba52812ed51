"""`crossreid cluster`: identities in unlabelled embeddings or in a gallery."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.cli.gallery_options import Collection, Token
from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, progress_bar, say

if TYPE_CHECKING:
    from crossreid.galleries import Gallery

Embedded = Annotated[
    str | None, typer.Argument(help="A folder or address that `crossreid embed` wrote; omit with --gallery.")
]
Cosines = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COSINE", help="Smallest cosine of a link, or PAIR=COSINE for a pair of modalities; repeatable."
    ),
]
FalseAcceptRate = Annotated[
    float | None, typer.Option(metavar="R", help="Or: the threshold of this false-accept rate.")
]
CalibrationOf = Annotated[
    Path | None,
    typer.Option(
        help="For --probability and --false-accept-rate: a run or its calibration.json; the embeddings' own by default."
    ),
]
Nearest = Annotated[
    int | None,
    typer.Option(min=0, help="Link only crops that are among each other's N nearest; 0 links all."),
]
Images = Annotated[list[Path] | None, typer.Option(help="Folder to search for images that are not found; repeatable.")]
NoPictures = Annotated[bool, typer.Option("--no-pictures", help="Do not read images: no manifest, no sheets.")]
ByIndex = Annotated[bool, typer.Option("--by-index", help="Find neighbours with the gallery's own index.")]
OnePerBurst = Annotated[bool, typer.Option("--one-per-burst", help="Put one crop per burst into the manifest.")]
WriteIdentities = Annotated[
    bool, typer.Option("--write-identities", help="Name gallery entries of clusters that have no identity.")
]


def cluster(
    embeddings: Embedded = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; must not exist yet.")] = None,
    gallery: Annotated[str | None, typer.Option(help="Cluster a gallery instead of EMBEDDINGS.")] = None,
    method: Annotated[str, typer.Option(help="components, agglomerative or hdbscan.")] = "components",
    threshold: Cosines = None,
    probability: Annotated[
        float | None, typer.Option(metavar="P", help="Or: the threshold of this match probability.")
    ] = None,
    false_accept_rate: FalseAcceptRate = None,
    calibration: CalibrationOf = None,
    nearest: Nearest = None,
    linkage: Annotated[str, typer.Option(help="For agglomerative: average or complete.")] = "average",
    min_cluster: Annotated[int, typer.Option(min=2, help="For hdbscan: crops in the smallest cluster.")] = 2,
    min_samples: Annotated[int | None, typer.Option(min=1, help="For hdbscan: crops that make a region dense.")] = None,
    no_tracklets: Annotated[bool, typer.Option("--no-tracklets", help="Allow splitting a tracklet's crops.")] = False,
    no_frames: Annotated[bool, typer.Option("--no-frames", help="Allow joining crops of one frame.")] = False,
    min_size: Annotated[int, typer.Option(min=1, help="Smallest cluster in manifest and sheets, in crops.")] = 2,
    one_per_burst: OnePerBurst = False,
    burst_seconds: Annotated[float, typer.Option(min=0, help="Gap that ends a burst.")] = 5.0,
    duplicate: Annotated[float, typer.Option(help="Cosine at or above which crops are near-duplicates.")] = 0.99,
    images: Images = None,
    no_pictures: NoPictures = False,
    sheets: Annotated[int, typer.Option(min=0, help="Maximum number of contact sheet pages.")] = 10,
    by_index: ByIndex = False,
    write_identities: WriteIdentities = False,
    token: Token = None,
    collection: Collection = "crossreid",
) -> None:
    """Find identities: cluster crops, and write a table, a manifest to train on and contact sheets."""
    from crossreid.clustering.cluster import cluster as find_identities

    if (embeddings is None) == (gallery is None):
        raise CrossreidError("expected either EMBEDDINGS or --gallery. See `crossreid cluster --help`.")
    if out is None:
        raise CrossreidError("--out DIR is required: the folder for clusters.parquet, manifest.csv and the rest.")
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        source: str | Gallery | None = embeddings
        if gallery is not None:
            from crossreid.galleries import open_gallery

            source = stack.enter_context(
                open_gallery(gallery, create=False, read_only=not write_identities, token=token, collection=collection)
            )
        assert source is not None
        found = find_identities(
            source, out, threshold=threshold, probability=probability, false_accept_rate=false_accept_rate,
            calibration=calibration, method=method, nearest=nearest, linkage=linkage,  # type: ignore[arg-type]
            min_cluster=min_cluster, min_samples=min_samples, tracklets=not no_tracklets, frames=not no_frames,
            min_size=min_size, one_per_burst=one_per_burst, burst_seconds=burst_seconds, duplicate=duplicate,
            images=images or (), pictures=not no_pictures, sheets=sheets, by_index=by_index,
            write_identities=write_identities, advances=partial(advancing, progress),
        )  # fmt: skip
        assert found.summary is not None
        _report(out, found.summary)
    if found.named is not None:
        say(f"{gallery}: {found.named[0]:,} entries of {found.named[1]:,} clusters have an identity now")


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
        say("no images were found or read: no manifest, no sheets. Give their folder with --images FOLDER.")
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
