"""`crossreid serve` and `crossreid keys`: a gallery served over HTTP, and who may query it."""

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

File = Annotated[Path, typer.Option(help="The file that `serve --keys` reads; readable by its owner only.")]


def serve(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder, or an exported file; omit it with --backbone.")
    ] = None,
    gallery: Annotated[str | None, typer.Argument(help="A gallery of this model; created if missing.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, see `crossreid keys`.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No keys: only for users of this machine.")] = False,
    images: Annotated[list[Path] | None, typer.Option(help="Folder whose images may be shown; repeatable.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder of the audit log and stored images; GALLERY.service by default.")
    ] = None,
    keep_images: Annotated[bool, typer.Option("--keep-images", help="Store a small copy of enrolled images.")] = False,
    retain_days: Annotated[float | None, typer.Option(help="Delete entries older than this; by default none.")] = None,
    retain_audit_days: Annotated[
        int, typer.Option(min=1, max=36_500, help="Delete audit log days older than this.")
    ] = 90,
    unknown_below: UnknownBelow = None,
    false_accept_rate: FalseAcceptRate = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A run or its calibration.json, if the model has none.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Folder of `crossreid watch`, shown as a timeline to keys with the role watch.")
    ] = None,
    engine: Engine = None,
    runtime: Annotated[str | None, typer.Option(hidden=True, help="The earlier name of --engine.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    precision: Annotated[
        str | None, typer.Option(help="float32 (the reference) or bf16; an exported file's own by default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default a GPU if there is one.")] = None,
    workers: Annotated[int, typer.Option(help="Server processes; several only for a gallery in a Milvus cluster.")] = 1,
    consistency: Annotated[
        str, typer.Option(help="For searches in a cluster: strong, bounded or eventually; see docs/search.md.")
    ] = "strong",
    rate: Annotated[
        float, typer.Option(min=0, help="Searches per second per key, ten times that for reads; 0: no limit.")
    ] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass, across requests.")] = 32,
    max_bytes: Annotated[int, typer.Option(min=1000, help="Maximum size of a request.")] = 16_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Maximum size of an image.")] = 16_000_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for a client to send its request.")] = 10,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A further limit, see docs/service.md#limits."),
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="Certificate for HTTPS, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key for HTTPS, PEM.")] = None,
    proxy: Annotated[str | None, typer.Option(help="Address of a trusted proxy that names its clients.")] = None,
    token: Token = None,
    collection: Collection = "crossreid",
    backbone: BackboneName = None,
    weights: Weights = None,
    size: Size = None,
    flip: Flip = False,
) -> None:
    """Serve a gallery over HTTP, with a page for people. See docs/service.md."""
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
    name: Annotated[str, typer.Argument(help="The key's owner, as the audit log names it.")],
    file: File,
    role: Annotated[
        list[str], typer.Option(help="search, enrol, watch, merge, or admin for all of these; repeatable.")
    ],
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; never by default.")] = None,
) -> None:
    """Create a key and print it, this once: the file stores only its digest."""
    from crossreid.service.keys import add_key

    typer.echo(add_key(file, name, role, days))


@app.command(name="list")
def list_keys(file: File) -> None:
    """List the keys' owners, roles and expiry."""
    from crossreid.service.keys import read_keys

    for key in read_keys(file):
        until = f"until {key.expires}" if key.expires else "without end"
        typer.echo(f"{key.name}: {', '.join(key.roles)}, made {key.created}, {until}")


@app.command()
def remove(name: Annotated[str, typer.Argument(help="The key's owner.")], file: File) -> None:
    """Revoke a key; a running service refuses it from then on."""
    from crossreid.service.keys import remove_key

    remove_key(file, name)
