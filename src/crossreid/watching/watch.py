"""`crossreid.watch`: from films and streams to a folder that says who was where.

    sources -> detector -> tracker -> tracklets -> identities -> events, files, sinks

`open_watch` assembles it from the arguments; `watch_loop` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.files import remove_leftovers_in, short_digest
from crossreid.galleries.calibrations import calibration_for, checked, named_calibration
from crossreid.galleries.gallery import Gallery
from crossreid.galleries.opening import open_gallery
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.open_model import open_model
from crossreid.runs.named_network import PretrainedNetwork
from crossreid.watching import mot_files, watch_file
from crossreid.watching.annotation import annotated
from crossreid.watching.identities.state import State, open_state
from crossreid.watching.open_watch import CameraCounts, OpenWatch, Report
from crossreid.watching.sinks.metrics import HOST, WatchMetrics
from crossreid.watching.sinks.outlets import Outlets
from crossreid.watching.video.sources import open_source
from crossreid.watching.watch_settings import WatchPlan, WatchSettings

__all__ = ["CameraCounts", "Watched", "watch"]


@dataclass(frozen=True, slots=True)
class Watched:
    """The result of a watch: its folder, counts per camera, total identities and events, and whether the films have
    ended. late: sinks that still lack events, which the next watch of the folder sends."""

    folder: Path
    cameras: tuple[CameraCounts, ...]
    identities: int
    events: int
    complete: bool
    late: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Outside:
    """The outputs of a watch besides its folder: they do not affect what is seen, so the next call may change them."""

    webhooks: tuple[str, ...]
    brokers: tuple[str, ...]
    metrics: int | None


def watch(
    sources: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    model: Path | str | PretrainedNetwork,
    gallery: Path | str | None = None,
    calibration: Path | str | None = None,
    cameras: Path | str | None = None,
    topology: Path | str | None = None,
    detector: str = "background",
    weights: Path | str | None = None,
    classes: Sequence[str] = (),
    minimum_score: float | None = None,
    minimum_size: tuple[int, int] | None = None,
    tracking: Mapping[str, Any] | None = None,
    matching: Mapping[str, Any] | None = None,
    reading: Mapping[str, Any] | None = None,
    keep_images: bool = True,
    annotate: bool = False,
    webhooks: Sequence[str] = (),
    brokers: Sequence[str] = (),
    metrics: int | None = None,
    until: float | None = None,
    device: str | None = None,
    report: Callable[[Sequence[CameraCounts], int], object] = lambda counts, identities: None,
    say: Callable[[str], object] = lambda text: None,
) -> Watched:
    """Watch films or streams into the folder `out`: tracks, identities across cameras, and events.

    Repeating the call resumes the watch. A script that calls this needs `if __name__ == "__main__":` around it, as each
    camera is read by its own process.

    Args:
        sources: films, folders of frames, addresses of streams, each `[NAME=]SOURCE[#KEY=VALUE,...]`; may be empty with
            `cameras`.
        out: the folder of the watch, new or from an earlier identical call.
        model: a run's folder, an exported .onnx file, or a pretrained network that was not trained here.
        gallery: a gallery of that model, for names; without one, all identities are new.
        calibration: a run or its calibration.json, instead of that of the model or gallery.
        cameras: a cameras.yaml with more cameras.
        topology: a topology.yaml: which cameras people can walk between, and how fast.
        detector: background (the default), a file or folder of detections, an .onnx file, or a registered name with
            `weights`.
        classes: what to detect, names or numbers; people by default, if the detector has classes.
        minimum_score: detections with lower scores are left out.
        minimum_size: (height, width) in pixels of the frame; smaller detections are left out.
        tracking: options of `TrackingOptions` by key, for example `{"tracker": "ocsort"}`.
        matching: likewise of `MatchingOptions`.
        reading: likewise of `ReadingOptions`, for example `{"fps": 5}`.
        keep_images: whether to save key frames as images; if False, no image is written.
        annotate: whether to write films with boxes and identities at the end.
        webhooks: addresses to which events are posted.
        brokers: addresses of MQTT brokers.
        metrics: a port for Prometheus.
        until: stop this many seconds after the first frame of the watch.
        device: cpu, cuda or cuda:N; by default a GPU if available.
        report: called with the cameras' counts and the number of identities after each step.
        say: called with single-line messages about decisions.

    Raises:
        CrossreidError: an unusable argument, or a folder that holds another watch.
        Interrupted: SIGINT or SIGTERM; everything seen until then is saved.
    """
    settings = WatchSettings(
        (str(sources),) if isinstance(sources, str | Path) else tuple(map(str, sources)),
        model if isinstance(model, PretrainedNetwork) else Path(model),
        None if cameras is None else Path(cameras), None if gallery is None else str(gallery),
        None if topology is None else Path(topology), detector, None if weights is None else Path(weights),
        tuple(classes), minimum_score, minimum_size, dict(tracking or {}), dict(matching or {}), dict(reading or {}),
        keep_images, device, None if calibration is None else Path(calibration),
    )  # fmt: skip
    if until is not None and until <= 0:
        raise CrossreidError(f"until {until:g}: expected seconds above 0.")
    plan = WatchPlan.of(settings)
    if annotate:
        annotated.check_can_annotate(plan.cameras, keep_images=keep_images)
    outside = _Outside(tuple(webhooks), tuple(brokers), metrics)
    return _watch(plan, Path(out), outside, annotate=annotate, until=until, report=report, say=say)


def _watch(
    plan: WatchPlan, folder: Path, outside: _Outside, *, annotate: bool, until: float | None, report: Report,
    say: Callable[[str], object],
) -> Watched:  # fmt: skip
    for detector in plan.detectors:
        for note in detector.notes:
            say(note)
    model = open_model(plan.settings.model, device=plan.settings.device)
    if model.trained:
        say(f"WARNING: {plan.settings.model} is {model.trained}.")
    _refuse_other_folder(folder)
    with ExitStack() as held:
        gallery = None
        if plan.settings.gallery is not None:
            gallery = held.enter_context(
                open_gallery(plan.settings.gallery, model=model.fingerprint, dimension=model.dimension, read_only=True)
            )
        calibration = _calibration(plan.settings.calibration, model, gallery)
        if calibration is None:
            say("the model is not calibrated (crossreid calibrate): cosines are compared with a fixed threshold.")
        state = held.enter_context(open_state(folder, keep_images=plan.settings.keep_images))
        for place in (folder, folder / mot_files.FOLDER, folder / annotated.FOLDER):
            if place.is_dir():
                remove_leftovers_in(place)  # left by a watch that was killed while writing
        facts = plan.facts(model.fingerprint, _digest(calibration))
        watch_file.make_or_keep(folder, facts, begun=state.has_begun())
        state.note_cameras(plan.cameras)
        state.note("model", model.fingerprint)
        outlets = _outlets(state, outside, say)
        late: list[str] = []
        try:
            opened = OpenWatch(plan, model, calibration, gallery, state, outlets, held, report=report, say=say)
            complete = opened.run(until)
            counts = opened.counts()
            if annotate and complete:
                say(f"annotating {len(plan.cameras)} films")
                reading = plan.reading.model_copy(
                    update={"real_time": False}
                )  # every watched frame, without real-time pacing
                annotated.annotate(folder, state, plan.cameras, lambda camera: open_source(camera, reading))
        finally:
            late += outlets.close()
        if annotate and not complete:
            say("the films have not ended yet: they are annotated once they have.")
        return Watched(folder, counts, opened.identity_count(), state.last_event(), complete, tuple(late))


def _outlets(state: State, outside: _Outside, say: Callable[[str], object]) -> Outlets:
    metrics = None if outside.metrics is None else WatchMetrics()
    outlets = Outlets(state.folder, state, webhooks=outside.webhooks, brokers=outside.brokers, metrics=metrics)
    for sink in state.keep_cursors(outlets.names):
        say(f"{sink}: no longer configured, so events are not kept for it.")
    if metrics is not None and outside.metrics is not None:
        say(f"figures: http://{HOST}:{metrics.serve(outside.metrics)}/metrics")
    return outlets


def _calibration(named: Path | None, model: EmbeddingModel, gallery: Gallery | None) -> Calibration | None:
    """The named calibration, else the model's own, else the gallery's."""
    if named is not None:
        return checked(named_calibration(named), model.fingerprint, f"--calibration {named}", str(model.source))
    if model.calibration is not None or gallery is None:
        return model.calibration
    return calibration_for(gallery, None)


def _refuse_other_folder(folder: Path) -> None:
    """Raise `CrossreidError` for a folder that holds something other than a watch."""
    if not folder.exists() or (folder / watch_file.FILE).is_file():
        return
    if not folder.is_dir():
        raise CrossreidError(f"--out {folder} is a file; expected a folder for the watch, or a name for a new one.")
    strange = sorted(one.name for one in folder.iterdir() if not one.name.startswith(("state.", ".")))
    if strange:
        raise CrossreidError(
            f"--out {folder} holds something other than a watch ({strange[0]}). Choose another folder, or a name for a new one."
        )


def _digest(calibration: Calibration | None) -> str | None:
    if calibration is None:
        return None
    every = {"images": calibration, **calibration.others}
    return short_digest({kind: [one.prior, _points(one)] for kind, one in every.items()})


def _points(calibration: Calibration) -> dict[str, Any]:
    return {name: [curve.scores.tolist(), curve.probabilities.tolist()] for name, curve in calibration.curves.items()}
