"""`crossreid watch`: videos and streams in, who was where out."""

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
            metavar="[SOURCE]...", help="[NAME=]VIDEO, FOLDER of frames or stream ADDRESS, with #KEY=VALUE."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the watch; the same command continues it.")] = None,
    # who is known
    run: Annotated[Path | None, typer.Option(help="The run to embed with.")] = None,
    model: Annotated[Path | None, typer.Option(help="Instead of --run: an exported .onnx file.")] = None,
    backbone: BackboneName = None,
    backbone_weights: Annotated[
        str | None, typer.Option(help="With --backbone: imagenet (the default, from timm), or a file.")
    ] = None,
    size: Size = None,
    flip: Flip = False,
    calibration: Annotated[
        Path | None, typer.Option(help="A run or its calibration.json, if model and gallery have none.")
    ] = None,
    gallery: Annotated[
        str | None, typer.Option(help="A gallery of that model with names; without one everybody is new.")
    ] = None,
    # what the cameras are
    cameras: Annotated[
        Path | None, typer.Option(help="cameras.yaml: cameras with their options, see docs/video.md.")
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="topology.yaml: transitions between cameras, see docs/identities.md.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.01, help="Process at most this many frames per second of video.")
    ] = None,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Read videos as if they were streams: drop frames when behind.")
    ] = False,
    until: Annotated[float | None, typer.Option(help="Stop this many seconds after the watch's first frame.")] = None,
    # what is detected and tracked
    detector: Annotated[
        str, typer.Option(help="background, a file or folder of detections, an .onnx file, or a NAME with --weights.")
    ] = "background",
    weights: Annotated[Path | None, typer.Option(help="Weights of the detector.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Class to detect, people by default; repeatable.")
    ] = None,
    minimum_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Ignore detections with lower scores.")
    ] = None,
    minimum_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Ignore smaller detections, in pixels.")
    ] = None,
    tracker: Annotated[str, typer.Option(help="bytetrack, ocsort or botsort.")] = "bytetrack",
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="tracking.KEY, matching.KEY or reading.KEY, see docs/watching.md."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default a GPU if there is one.")] = None,
    # what comes out
    keep_images: Annotated[
        bool, typer.Option("--keep-images/--no-images", help="Store key frames as images, or no images at all.")
    ] = True,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Write videos with boxes and identities at the end.")
    ] = False,
    webhook: Annotated[list[str] | None, typer.Option(help="Post events to this address; repeatable.")] = None,
    mqtt: Annotated[
        list[str] | None, typer.Option(help="Publish events: mqtt(s)://HOST[:PORT][/TOPIC]; repeatable.")
    ] = None,
    metrics: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of Prometheus metrics.")] = None,
) -> None:
    """Watch videos or streams: track people, identify them across cameras, and emit events. See docs/watching.md."""
    if out is None:
        raise CrossreidError("expected --out FOLDER, where the watch is stored.")
    network = named_network(backbone, backbone_weights, size, flip, weights_option="--backbone-weights")
    given = [one for one in (run, model, network) if one is not None]
    if len(given) != 1:
        raise CrossreidError("expected either --run RUN or --model FILE.onnx, or --backbone NAME.")
    if not sources and cameras is None:
        raise CrossreidError("expected one or more SOURCEs, or --cameras FILE. See `crossreid watch --help`.")
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
            f"{one.camera}: {one.frames} frames{dropped}, {one.tracks} tracks, {one.rate:.1f} per second",
            soft_wrap=True,
        )
    going_on = "" if done.complete else "; the same command continues"
    console.print(f"{done.identities} identities, {done.events} events: {done.folder}{going_on}", soft_wrap=True)
    for sink in done.late:
        errors.print(
            f"WARNING: {sink} has not received all events; the next watch of {out} sends the rest.", soft_wrap=True
        )


def _sections(
    overrides: Sequence[str], *, tracker: str, fps: float | None, real_time: bool
) -> dict[str, dict[str, Any]]:
    """Return the options of tracking, matching and reading; what has an option of its own cannot be given by --set."""
    from crossreid.runs.overrides import apply_override

    found: dict[str, Any] = {}
    for override in overrides:
        apply_override(found, override)
    if unknown := [key for key in found if key not in SECTIONS or not isinstance(found[key], dict)]:
        raise CrossreidError(f"--set {unknown[0]}: expected tracking.KEY, matching.KEY or reading.KEY.")
    sections = {name: dict(found.get(name, {})) for name in SECTIONS}
    for section, key in (("tracking", "tracker"), ("reading", "fps"), ("reading", "real_time")):
        if key in sections[section]:
            raise CrossreidError(f"--set {section}.{key}: use --{key.replace('_', '-')}.")
    sections["tracking"]["tracker"] = tracker
    sections["reading"] |= ({} if fps is None else {"fps": fps}) | ({"real_time": True} if real_time else {})
    return sections


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    if not cross or not height.isdecimal() or not width.isdecimal():
        raise CrossreidError(f"--minimum-size {text!r}: expected HEIGHTxWIDTH in pixels, for example 40x15.")
    return int(height), int(width)


def _reporting(shown: ExitStack) -> Callable[[Sequence[CameraCounts], int], None]:
    """Return bars, one per camera: frames, then dropped frames, tracks, frames per second, and identities so far.

    They are drawn at the first call, so that an error before it stays one line.
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
