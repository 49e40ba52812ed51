"""`crossreid gallery`: store, search and delete embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.cli.gallery_options import FalseAcceptRate, Token, UnknownBelow
from crossreid.cli.networks import BackboneName, Flip, Size, Weights, named_network
from crossreid.cli.parsing import group
from crossreid.errors import CrossreidError
from crossreid.files import write_json
from crossreid.terminal import advancing, errors, printable, progress_bar, say

if TYPE_CHECKING:
    from crossreid.runs.named_network import PretrainedNetwork

app = group("A gallery of embeddings: a folder, a Milvus Lite file (.db), or the address of a Milvus cluster.")

Where = Annotated[str, typer.Argument(help="A folder, a path ending in .db, or http(s)://HOST:PORT.")]
Collection = Annotated[str, typer.Option(help="Milvus cluster: prefix of its collections' names.")]
Model = Annotated[
    str | None, typer.Option(help="Fingerprint of the embedding model; a folder of embeddings has its own.")
]
Kind = Annotated[str, typer.Option(help="exact, hnsw or ivf-pq.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Option of the index, see docs/search.md#indexes."),
]
Cameras = Annotated[list[int] | None, typer.Option("--camera", help="Only this camera; repeatable.")]
ModalityName = Annotated[str | None, typer.Option("--modality", help="Only visible, or only infrared.")]
Since = Annotated[str | None, typer.Option(help="Only from this time on: ISO 8601, UTC unless it names a time zone.")]
Until = Annotated[str | None, typer.Option(help="Only before this time.")]
Identity = Annotated[str | None, typer.Option(help="Only this identity.")]
Source = Annotated[str | None, typer.Option(help="Only this source: the whole path or address.")]
AddedUntil = Annotated[str | None, typer.Option(help="Only entries added to the gallery before this time.")]
SourcePrefix = Annotated[str | None, typer.Option(help="Only sources that start with this.")]


@app.command()
def create(
    where: Where,
    model: Annotated[str | None, typer.Option(help="Fingerprint of the embedding model.")] = None,
    dimension: Annotated[int | None, typer.Option(min=1, help="Dimension of the embeddings.")] = None,
    index: Kind = "exact", option: Option = None, token: Token = None, collection: Collection = "crossreid",
    backbone: BackboneName = None, weights: Weights = None, size: Size = None, flip: Flip = False,
) -> None:  # fmt: skip
    """Create an empty gallery for one model's embeddings, given by --model and --dimension or by --backbone."""
    from crossreid.galleries import IndexOptions, open_gallery
    from crossreid.galleries.model_card import ModelCard

    options, network = IndexOptions.of_texts(index, option or ()), named_network(backbone, weights, size, flip)
    if (model is None) != (dimension is None) or (model is None) == (network is None):
        raise CrossreidError("expected --model and --dimension, or --backbone. See `crossreid gallery create --help`.")
    opened = None
    if network is not None:
        from crossreid.inference.open_model import open_model

        opened = open_model(network, device="cpu")
        model, dimension = opened.fingerprint, opened.dimension
    with open_gallery(
        where, model=model, dimension=dimension, index=options, create=True, token=token, collection=collection
    ) as gallery:
        if opened is not None:
            gallery.note_run(opened.source)
            gallery.note_model(ModelCard.of(opened))
        say(f"gallery: {where}")


@app.command()
def add(
    where: Where,
    embeddings: Annotated[str, typer.Argument(help="features.npz of a run, or a folder or address of embeddings.")],
    model: Model = None,
    role: Annotated[str, typer.Option(help="For features.npz: gallery, query or all.")] = "gallery",
    upsert: Annotated[bool, typer.Option("--upsert", help="Replace existing entries.")] = False,
    token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Add embeddings; a missing gallery is created."""
    from crossreid.data.addresses import place_of
    from crossreid.galleries import open_gallery
    from crossreid.galleries.calibrations import calibration_of, run_of
    from crossreid.galleries.importing import add_entries, card_of, note_model, read_entries

    place = place_of(embeddings)
    entries, own = read_entries(place, model, role)
    card, calibration = card_of(place), calibration_of(place)
    dimension = entries.embeddings.shape[1]
    with (
        open_gallery(where, model=own, dimension=dimension, token=token, collection=collection) as gallery,
        progress_bar() as progress,
    ):
        count = add_entries(gallery, entries, model=own, replace=upsert, advance=advancing(progress, "entries"))
        note_model(gallery, run_of(place), card, calibration)
        say(f"{where}: {count} added, {len(gallery)} entries")
    if card is not None and card.trained:
        errors.print(printable(f"WARNING: the model of {embeddings} is {card.trained}."), soft_wrap=True)


@app.command()
def search(
    where: Where,
    queries: Annotated[
        Path | None,
        typer.Argument(help="An image, a folder of images, features.npz (its queries), or a folder of embeddings."),
    ] = None,
    id: Annotated[list[str] | None, typer.Option("--id", help="Entry of the gallery to use as a query; repeatable.")] = None,
    model: Model = None,
    k: Annotated[int, typer.Option(min=1, help="Matches per query.")] = 10,
    identity: Identity = None, camera: Cameras = None, modality: ModalityName = None, since: Since = None,
    until: Until = None, source: Source = None, source_prefix: SourcePrefix = None, added_until: AddedUntil = None,
    tracklet: Annotated[bool, typer.Option("--tracklet", help="Treat all images of the folder as one query.")] = False,
    query_modality: Annotated[str | None, typer.Option(help="For images: visible (the default) or infrared.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="To embed images: the run of the gallery's model, if it was moved or changed.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="To embed images: cpu, cuda or cuda:N.")] = None,
    backbone: BackboneName = None, weights: Weights = None, size: Size = None, flip: Flip = False,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every entry, bypassing the index.")] = False,
    unknown_below: UnknownBelow = None, false_accept_rate: FalseAcceptRate = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Source of probabilities: a run or its calibration.json; the gallery's by default.")
    ] = None,
    prior: Annotated[
        float | None, typer.Option(metavar="P", help="Share of same-identity pairs to assume for probabilities; 1/N for N people.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the matches to this file.")] = None,
    token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Find the entries nearest to images (embedded with the gallery's own model), to embeddings, or to entries."""
    from crossreid.cli.matches import as_json, say_nothing_found, say_warnings, show
    from crossreid.galleries import open_gallery, read_entries
    from crossreid.galleries.asking import asking_with_entries, asking_with_ids, holds_pictures
    from crossreid.galleries.calibrations import calibration_for
    from crossreid.galleries.filters import filter_of_texts
    from crossreid.galleries.judging import Threshold, at_prior, judge_each

    chosen = filter_of_texts(
        identity=identity, cameras=camera, modality=modality, since=since, until=until, source=source,
        source_prefix=source_prefix, added_until=added_until,
    )  # fmt: skip
    if (queries is None) == (not id):
        raise CrossreidError("expected either QUERIES or --id. See `crossreid gallery search --help`.")
    run = _named_model(named_network(backbone, weights, size, flip), run)
    pictures = queries is not None and holds_pictures(queries)
    if not pictures and (tracklet or query_modality or run or device):
        raise CrossreidError(
            "--tracklet, --query-modality, --run and --device apply to images, and the queries are not images."
        )
    threshold = Threshold(unknown_below, false_accept_rate)
    entries = None
    if queries is not None and not pictures:
        entries, model = read_entries(queries, model, "query")
    with open_gallery(where, model=model, create=False, read_only=True, token=token, collection=collection) as gallery:
        known = at_prior(calibration_for(gallery, calibration), prior, where)
        threshold.refuse_without(known, where)
        if queries is not None and pictures:
            from crossreid.galleries.asking_pictures import asking_with_pictures

            asking = asking_with_pictures(
                gallery, queries, run=run, modality=query_modality, tracklet=tracklet, device=device,
                say=lambda text: errors.print(printable(text), soft_wrap=True),
            )  # fmt: skip
        else:
            asking = asking_with_entries(entries) if entries is not None else asking_with_ids(gallery, id or ())
        found = gallery.search(asking.embeddings, k, chosen, exact=exact)
        judged = judge_each(known, asking, found, threshold, len(gallery))
        show(asking, found, judged, threshold)
        say_warnings(judged or ())
        say_nothing_found(
            gallery, asking, found,
            {"identity": identity, "camera": camera, "modality": modality, "since": since, "until": until, "source": source,
             "source_prefix": source_prefix, "added_until": added_until},
        )  # fmt: skip
    if json_file is not None:
        write_json(json_file, as_json(asking, found, judged))


def _named_model(network: PretrainedNetwork | None, run: Path | None) -> Path | None:
    """Return what images are embedded with, if it is named. Raises `CrossreidError` if it is named twice."""
    if network is not None and run is not None:
        raise CrossreidError(f"--run {run} and --backbone {network.name}: expected one of them.")
    return network.path if network is not None else run


@app.command()
def stats(
    where: Where,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Show what a gallery holds."""
    from dataclasses import asdict

    from crossreid.galleries import open_gallery
    from crossreid.galleries.model_card import in_words

    with open_gallery(where, create=False, read_only=True, token=token, collection=collection) as gallery:
        told = asdict(gallery.stats())
    if as_json:
        typer.echo(json.dumps(told))
        return
    if told["preprocessing"] is not None:
        told["preprocessing"] = in_words(told["preprocessing"])
    if (kept := told["calibration"]) is None:
        told["calibration"] = "none"
    else:
        prior = "unknown" if kept["prior"] is None else f"{kept['prior']:.4g}"
        told["calibration"] = f"{kept['method']}, at prior {prior}, for {', '.join(kept['pairs'])}"
    for name, value in told.items():
        if value is not None or name not in (
            "trained",
            "preprocessing",
        ):  # nothing for what older galleries do not store
            say(f"{name}: {value}")


@app.command()
def delete(
    where: Where,
    id: Annotated[list[str] | None, typer.Option("--id", help="Delete this entry; repeatable.")] = None,
    identity: Identity = None, camera: Cameras = None, modality: ModalityName = None, since: Since = None,
    until: Until = None, source: Source = None, source_prefix: SourcePrefix = None, added_until: AddedUntil = None,
    token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Delete entries by id, or all that match a filter; `compact` removes their remains from the files."""
    from crossreid.galleries import open_gallery
    from crossreid.galleries.filters import filter_of_texts

    chosen = filter_of_texts(
        identity=identity, cameras=camera, modality=modality, since=since, until=until, source=source,
        source_prefix=source_prefix, added_until=added_until,
    )  # fmt: skip
    if bool(id) == (not chosen.is_empty):
        raise CrossreidError("expected either --id or a filter. See `crossreid gallery delete --help`.")
    with open_gallery(where, create=False, token=token, collection=collection) as gallery:
        count = gallery.delete(id) if id else gallery.delete(filter=chosen)
        say(f"{where}: {count} deleted, {len(gallery)} entries")


@app.command()
def expire(
    where: Where,
    days: Annotated[float, typer.Option(help="Maximum age of an entry since it was taken or added.")],
    token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Delete entries taken or added more than --days ago, whichever comes first, as `crossreid serve --retain-days` does; for cron."""
    from crossreid.galleries import open_gallery
    from crossreid.galleries.expiring import check_days, expire

    check_days(days)
    with open_gallery(where, create=False, token=token, collection=collection) as gallery:
        count = expire(gallery, days)
        say(f"{where}: {count} expired, {len(gallery)} entries")


@app.command()
def index(
    where: Where,
    kind: Annotated[str, typer.Argument(help="exact, hnsw or ivf-pq.")],
    option: Option = None, token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Rebuild the index as this kind; searches use it from then on."""
    from crossreid.galleries import IndexOptions, open_gallery

    options = IndexOptions.of_texts(kind, option or ())
    with open_gallery(where, create=False, token=token, collection=collection) as gallery, progress_bar() as progress:
        gallery.build_index(options, advancing(progress, "entries"))
        say(f"{where}: {gallery.stats().index}")


@app.command()
def recall(
    where: Where,
    k: Annotated[int, typer.Option(min=1, help="Number of nearest entries to find.")] = 10,
    queries: Annotated[int, typer.Option(min=1, help="Entries drawn as queries.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that draw.")] = 0,
    token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Measure the share of the true nearest entries that the index finds, and the time of both searches."""
    from crossreid.galleries import measure_recall, open_gallery

    with (
        open_gallery(where, create=False, read_only=True, token=token, collection=collection) as gallery,
        progress_bar() as progress,
    ):
        found = measure_recall(gallery, k=k, count=queries, seed=seed, advance=advancing(progress, "queries"))
        kind = gallery.stats().index
    say(
        f"{kind}: recall@{found.k} {found.mean:.4f} over {found.queries} queries, worst {found.worst:.2f}; ms per query: "
        f"{1000 * found.index_seconds:.2f}, exact {1000 * found.exact_seconds:.2f}",
    )


@app.command()
def compact(where: Where, token: Token = None, collection: Collection = "crossreid") -> None:
    """Remove all remains of deleted and replaced entries from the files."""
    from crossreid.galleries import open_gallery

    with open_gallery(where, create=False, token=token, collection=collection) as gallery, progress_bar() as progress:
        gallery.compact(advancing(progress, "entries"))
        size = gallery.stats().bytes
    say(f"{where}: compacted" + ("" if size is None else f", {size} bytes"))


@app.command()
def snapshot(
    where: Where,
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.")],
    token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Write a consistent copy, which is a gallery itself."""
    from crossreid.galleries import open_gallery

    with open_gallery(where, create=False, read_only=True, token=token, collection=collection) as gallery:
        gallery.snapshot(out)
    say(f"snapshot: {out}")


@app.command()
def restore(
    snapshot: Annotated[Path, typer.Argument(help="A snapshot.")],
    where: Where, token: Token = None, collection: Collection = "crossreid",
) -> None:  # fmt: skip
    """Copy a snapshot to a place without a gallery, in either backend."""
    from crossreid.galleries import restore as restore_to

    with progress_bar() as progress:
        restore_to(snapshot, where, advancing(progress, "entries"), token=token, collection=collection)
    say(f"gallery: {where}")


@app.command(name="marks")
def manifest_of_marks(
    marks: Annotated[Path, typer.Argument(help="Marks exported by the page of `crossreid serve`.")],
    images: Annotated[list[Path], typer.Option(help="Folder that holds the entries' images; repeatable.")],
    out: Annotated[Path, typer.Option(help="The manifest to write; must not exist yet.")],
    queries: Annotated[
        Path | None, typer.Option(help="Folder that holds the query files.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out images that are not found, and list them.")
    ] = False,
    beside: Annotated[
        Path | None,
        typer.Option("--with", help="A manifest whose images are written too, divided as they are; marks add to its training."),
    ] = None,
) -> None:  # fmt: skip
    """Turn matches marked right or wrong into a manifest to train on."""
    from crossreid.galleries.marks import read_marks, write_manifest

    told = write_manifest(
        read_marks(marks), out, images=images, queries=queries, skip_missing=skip_missing, beside=beside
    )
    for name in told.missing:
        say(f"left out, not found: {name}")
    say(
        f"{out}: {told.images} images of {told.identities} identities ({told.named} named here), of {told.right} right "
        f"marks; {told.wrong} wrong ones agree"
        + ("" if beside is None else f"; beside {told.beside:,} images of {beside}")
    )
