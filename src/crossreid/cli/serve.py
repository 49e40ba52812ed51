"""`crossreid serve` and `crossreid keys`: a gallery that is asked over HTTP, and who may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.cli.engines import Engine, engine_of
from crossreid.cli.gallery_options import Collection, FalseAcceptRate, Token, UnknownBelow
from crossreid.cli.networks import BackboneName, Flip, Size, Weights, named_network, run_and_rest
from crossreid.cli.parsing import group
from crossreid.errors import CrossreidError
from crossreid.extras import modules_of, require
from crossreid.terminal import say

app = group("API keys of `crossreid serve`.")

File = Annotated[Path, typer.Option(help="The file that `serve --keys` reads; its owner's alone.")]


def serve(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder, or an exported file; with --backbone left out.")
    ] = None,
    gallery: Annotated[str | None, typer.Argument(help="A gallery of this model; made where there is none.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, see `crossreid keys`.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No keys: for this machine's user only.")] = False,
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder below which entries' sources are shown; several times.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder of the audit log and of kept images; GALLERY.service by default.")
    ] = None,
    keep_images: Annotated[bool, typer.Option("--keep-images", help="Keep a small copy of enrolled images.")] = False,
    retain_days: Annotated[
        float | None, typer.Option(help="Delete entries taken or added longer ago; by default none are.")
    ] = None,
    retain_audit_days: Annotated[int, typer.Option(min=1, max=36_500, help="Delete older days of the audit log.")] = 90,
    unknown_below: UnknownBelow = None,
    false_accept_rate: FalseAcceptRate = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A run or its calibration.json, where the model carries none.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Folder of `crossreid watch`, shown as a timeline to keys of the role watch.")
    ] = None,
    engine: Engine = None,
    runtime: Annotated[str | None, typer.Option(hidden=True, help="The earlier name of --engine.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    precision: Annotated[
        str | None, typer.Option(help="float32 (the reference) or bf16; an exported file's own by default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one.")] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that serve; several for a gallery in a Milvus cluster only.")
    ] = 1,
    consistency: Annotated[
        str, typer.Option(help="Of searches in a cluster: strong, bounded or eventually, docs/search.md.")
    ] = "strong",
    rate: Annotated[float, typer.Option(min=0, help="Searches a second of a key, reads ten times that; 0: any.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Images of a forward pass, of whatever requests.")] = 32,
    max_bytes: Annotated[int, typer.Option(min=1000, help="Of a request.")] = 16_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Of an image.")] = 16_000_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="For a client to send its request.")] = 10,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A further limit, docs/service.md#limits.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM, for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM, for HTTPS.")] = None,
    proxy: Annotated[str | None, typer.Option(help="Address of a proxy that tells who its clients are.")] = None,
    token: Token = None,
    collection: Collection = "crossreid",
    backbone: BackboneName = None,
    weights: Weights = None,
    size: Size = None,
    flip: Flip = False,
) -> None:
    """Serve a gallery to programs and, as a page, to people: docs/service.md."""
    require("crossreid serve", *modules_of("serve"))
    from crossreid.service.configuration import service_options
    from crossreid.service.endpoint import Endpoint
    from crossreid.service.startup import Serving
    from crossreid.service.startup import serve as serve_alone
    from crossreid.service.workers import refuse_several, serve_by_workers

    run, gallery = run_and_rest(named_network(backbone, weights, size, flip), run, gallery, "serve")
    if gallery is None:
        raise CrossreidError("expected a GALLERY: a folder, a path ending in .db, or http(s)://HOST:PORT.")
    refuse_several(gallery, workers)
    endpoint = Endpoint(host, port, tls_certificate, tls_key, proxy)
    options = service_options(
        gallery, override or (), state=state, images=images or (), keep_images=keep_images, retain_days=retain_days,
        retain_audit_days=retain_audit_days, rate=rate, batch=batch, max_bytes=max_bytes, max_pixels=max_pixels, seconds=seconds,
        unknown_below=unknown_below, false_accept_rate=false_accept_rate,
    )  # fmt: skip
    serving = Serving(
        run, gallery, endpoint, options, keys=keys, insecure=insecure, engine=engine_of(engine, runtime),
        checkpoint=checkpoint, precision=precision, device=device, token=token, collection=collection,  # type: ignore[arg-type]
        calibration=calibration, watch=watch, consistency=consistency,
    )  # fmt: skip
    if workers == 1:
        serve_alone(serving, say)
    else:
        serve_by_workers(serving, workers, say)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is; the audit log names it.")],
    file: File,
    role: Annotated[
        list[str], typer.Option(help="search, enrol, watch, merge, or admin, which may all; several times.")
    ],
    days: Annotated[float | None, typer.Option(min=0, help="Until it expires.")] = None,
) -> None:
    """Make a key and print it: once, as the file keeps its digest only."""
    from crossreid.service.keys import add_key

    typer.echo(add_key(file, name, role, days))


@app.command(name="list")
def list_keys(file: File) -> None:
    """Say whose keys there are, what they may, and until when."""
    from crossreid.service.keys import read_keys

    for key in read_keys(file):
        until = f"until {key.expires}" if key.expires else "without end"
        typer.echo(f"{key.name}: {', '.join(key.roles)}, made {key.created}, {until}")


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Whose key.")], file: File) -> None:
    """Take a key back; a running service refuses it from then on."""
    from crossreid.service.keys import remove_key

    remove_key(file, name)
