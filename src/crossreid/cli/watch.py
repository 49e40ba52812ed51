"""`crossreid watch`: films and streams in, who was where out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.cli.networks import BackboneName, Flip, Size, named_network
from crossreid.errors import CrossreidError
from crossreid.extras import require
from crossreid.terminal import advancing, console, errors, progress_bar

if TYPE_CHECKING:
    from crossreid.watching.watch import CameraCounts

SECTIONS = ("tracking", "matching", "reading")


def watch(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...", help="[NAME=]FILM, FOLDER of frames or stream's ADDRESS, with #KEY=VALUE."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the watch; the same command goes on with it.")] = None,
    # who is known
    run: Annotated[Path | None, typer.Option(help="The run that embeds.")] = None,
    model: Annotated[Path | None, typer.Option(help="In place of --run: an exported .onnx file.")] = None,
    backbone: BackboneName = None,
    backbone_weights: Annotated[
        str | None, typer.Option(help="Of --backbone: imagenet (the default, by timm), or a file.")
    ] = None,
    size: Size = None,
    flip: Flip = False,
    calibration: Annotated[
        Path | None, typer.Option(help="A run or its calibration.json, where model and gallery carry none.")
    ] = None,
    gallery: Annotated[str | None, typer.Option(help="Of that model, for names; without one all are new.")] = None,
    # what the cameras are
    cameras: Annotated[
        Path | None, typer.Option(help="cameras.yaml: cameras with their options, docs/video.md.")
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="topology.yaml: who can walk where, docs/identities.md.")
    ] = None,
    fps: Annotated[float | None, typer.Option(min=0.01, help="Look at no more frames a second of film.")] = None,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Read films as if they were streams: drop frames when behind.")
    ] = False,
    until: Annotated[float | None, typer.Option(help="End so many seconds after the watch's first frame.")] = None,
    # what is detected and tracked
    detector: Annotated[
        str, typer.Option(help="background, a file or folder of detections, an .onnx file, or a NAME with --weights.")
    ] = "background",
    weights: Annotated[Path | None, typer.Option(help="Of the detector.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="What it finds, people by default; several times.")
    ] = None,
    minimum_score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out detections with less.")] = None,
    minimum_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Leave out smaller detections, pixels.")
    ] = None,
    tracker: Annotated[str, typer.Option(help="bytetrack, ocsort or botsort.")] = "bytetrack",
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="tracking.KEY, matching.KEY or reading.KEY, docs/watching.md."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one.")] = None,
    # what comes out
    keep_images: Annotated[
        bool, typer.Option("--keep-images/--no-images", help="Keep key frames as images, or no image at all.")
    ] = True,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Write films with boxes and identities at the end.")
    ] = False,
    webhook: Annotated[list[str] | None, typer.Option(help="Post events to this address; several times.")] = None,
    mqtt: Annotated[
        list[str] | None, typer.Option(help="Publish events: mqtt(s)://HOST[:PORT][/TOPIC]; several times.")
    ] = None,
    metrics: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of figures for Prometheus.")] = None,
) -> None:
    """Watch films or streams: track who is seen, say who they are across cameras, and emit events. docs/watching.md."""
    if out is None:
        raise CrossreidError("expected --out FOLDER, where the watch is kept.")
    network = named_network(backbone, backbone_weights, size, flip, weights_option="--backbone-weights")
    given = [one for one in (run, model, network) if one is not None]
    if len(given) != 1:
        raise CrossreidError("expected either --run RUN or --model FILE.onnx, or --backbone NAME.")
    if not sources and cameras is None:
        raise CrossreidError("expected a SOURCE or more, or --cameras FILE. See `crossreid watch --help`.")
    options = _sections(override or (), tracker=tracker, fps=fps, real_time=real_time)
    require("crossreid watch", "trackers")
    from crossreid.watching.watch import watch as watch_cameras

    with ExitStack() as shown:
        done = watch_cameras(
            sources or (), out, model=given[0], gallery=gallery, calibration=calibration, cameras=cameras, topology=topology,
            detector=detector, weights=weights, classes=classes or (), minimum_score=minimum_score,
            minimum_size=_size(minimum_size), **options, keep_images=keep_images, annotate=annotate, webhooks=webhook or (),
            brokers=mqtt or (), metrics=metrics, until=until, device=device,
            report=_reporting(shown), say=lambda text: errors.print(text, soft_wrap=True, highlight=False),
        )  # fmt: skip
    for one in done.cameras:
        dropped = f", {one.dropped} dropped" if one.dropped else ""
        console.print(
            f"{one.camera}: {one.frames} frames{dropped}, {one.tracks} tracks, {one.rate:.1f} a second", soft_wrap=True
        )
    going_on = "" if done.complete else "; the same command goes on"
    console.print(f"{done.identities} identities, {done.events} events: {done.folder}{going_on}", soft_wrap=True)
    for sink in done.late:
        errors.print(
            f"WARNING: {sink} has not taken all events; the next watch of {out} gives it the rest.", soft_wrap=True
        )


def _sections(
    overrides: Sequence[str], *, tracker: str, fps: float | None, real_time: bool
) -> dict[str, dict[str, Any]]:
    """The options of tracking, matching and reading; what has an option of its own is no key of --set."""
    from crossreid.runs.overrides import apply_override

    found: dict[str, Any] = {}
    for override in overrides:
        apply_override(found, override)
    if unknown := [key for key in found if key not in SECTIONS or not isinstance(found[key], dict)]:
        raise CrossreidError(f"--set {unknown[0]}: expected tracking.KEY, matching.KEY or reading.KEY.")
    sections = {name: dict(found.get(name, {})) for name in SECTIONS}
    for section, key in (("tracking", "tracker"), ("reading", "fps"), ("reading", "real_time")):
        if key in sections[section]:
            raise CrossreidError(f"--set {section}.{key}: give it by --{key.replace('_', '-')}.")
    sections["tracking"]["tracker"] = tracker
    sections["reading"] |= ({} if fps is None else {"fps": fps}) | ({"real_time": True} if real_time else {})
    return sections


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    if not cross or not height.isdecimal() or not width.isdecimal():
        raise CrossreidError(f"--minimum-size {text!r}: expected HEIGHTxWIDTH in pixels, 40x15 for example.")
    return int(height), int(width)


def _reporting(shown: ExitStack) -> Callable[[Sequence[CameraCounts], int], None]:
    """A bar for each camera: frames, and behind them what was dropped, tracks, frames a second, and identities so far.

    They are drawn from the first call on: a refusal before it stays one line.
    """
    bars: dict[str, Callable[..., None]] = {}
    before: dict[str, int] = {}
    progress = progress_bar()

    def report(counts: Sequence[CameraCounts], identities: int) -> None:
        if not bars:
            shown.enter_context(progress)
        for one in counts:
            if one.camera not in bars:
                bars[one.camera] = advancing(progress, one.camera)
            note = f"dropped {one.dropped} tracks {one.tracks} fps {one.rate:.1f} identities {identities}"
            bars[one.camera](one.frames - before.get(one.camera, 0), note=note)
            before[one.camera] = one.frames

    return report
