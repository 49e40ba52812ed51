"""From a run's folder and a gallery to a running server: `crossreid serve`."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossreid.errors import CrossreidError
from crossreid.extras import modules_of, require
from crossreid.galleries.calibrations import calibration_for
from crossreid.galleries.model_card import ModelCard
from crossreid.galleries.opening import open_gallery
from crossreid.inference.engines.names import FASTEST, Asked
from crossreid.service.configuration import ServiceOptions
from crossreid.service.endpoint import Endpoint, is_loopback, refuse_taken
from crossreid.service.keys import Keys

if TYPE_CHECKING:
    from crossreid.inference.embedding_model import Precision
    from crossreid.service.search_service import SearchService
    from crossreid.service.siblings import Siblings


def refuse_open_door(endpoint: Endpoint, keys: Path | None, insecure: bool) -> None:
    """Raise `CrossreidError` for a service that anyone who reaches it could use, or that has keys and is insecure."""
    if insecure and keys is not None:
        raise CrossreidError("--keys and --insecure contradict each other; leave one out.")
    if keys is None and not insecure:
        raise CrossreidError(
            "who may use the service? Expected --keys FILE (make one: crossreid keys add NAME --role search --file FILE), or, on this "
            "machine only, --insecure."
        )
    if insecure and not is_loopback(endpoint.host):
        raise CrossreidError(
            f"--insecure on {endpoint.host}: without keys the service answers to this machine only. Use --host 127.0.0.1, or "
            "--keys FILE."
        )
    if (endpoint.certificate is None) != (endpoint.certificate_key is None):
        raise CrossreidError("expected both --tls-certificate and --tls-key, or neither.")


@dataclass(frozen=True)
class Serving:
    """What is served, to whom, where and how: everything a process needs. The fields are those of `crossreid serve`."""

    run: Path
    gallery: str
    endpoint: Endpoint
    options: ServiceOptions
    keys: Path | None
    insecure: bool
    engine: Asked | None = None
    checkpoint: str = "best"
    precision: Precision | None = None
    device: str | None = None
    token: str | None = None
    collection: str = "crossreid"
    calibration: Path | None = None
    watch: Path | None = None
    consistency: str = "strong"


def refuse_without_extra() -> None:
    """Raise `MissingExtra` if what a service needs is not installed."""
    require("crossreid serve", *modules_of("serve"))


def serve(serving: Serving, say: Callable[[str], Any] = print) -> None:
    """Serve in this process until stopped.

    Raises:
        CrossreidError: no model, no gallery, a gallery of another model or in use, no keys, an address in use, a folder that
            holds no watch.
    """
    refuse_without_extra()
    from crossreid.service.application import create_app
    from crossreid.service.http_server import server

    refuse_open_door(serving.endpoint, serving.keys, serving.insecure)
    known = known_keys(serving)
    refuse_taken(serving.endpoint)
    service = opened_service(serving)
    try:
        running = server(create_app(service, known), serving.endpoint, serving.options)
        for line in described(serving, service):
            say(line)
        say(f"serving {serving.endpoint.url} until Ctrl-C")
        running.run()
    finally:
        service.close()


def known_keys(serving: Serving) -> Keys | None:
    """The keys of the service, None if none are needed."""
    return None if serving.keys is None else Keys(serving.keys)


def opened_service(serving: Serving, siblings: Siblings | None = None) -> SearchService:
    """Model, gallery and everything around them, as one worker of several if there are `siblings`.

    Raises `CrossreidError` as `serve`.
    """
    # Imported here, as these need torch, which the parent of several workers does not use.
    from crossreid.analysis.rollout import has_rollout
    from crossreid.inference.engines.torch_model import TorchModel
    from crossreid.inference.fastest_engine import fastest_engine
    from crossreid.inference.open_by_engine import open_by_engine
    from crossreid.service.explainer import Explainer
    from crossreid.service.search_service import SearchService
    from crossreid.service.watch_folder import WatchFolder

    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # what decoders print about hostile images, up to thousands of times
    correcting = contextlib.nullcontext if siblings is None else siblings.correcting
    watched = None if serving.watch is None else WatchFolder(serving.watch, correcting)
    engine = serving.engine
    if engine == FASTEST:
        engine, _ = fastest_engine(
            serving.run, checkpoint=serving.checkpoint, device=serving.device, batch=serving.options.batch
        )
    model = open_by_engine(
        serving.run, engine, checkpoint=serving.checkpoint, precision=serving.precision, device=serving.device
    )
    explainer = None
    if isinstance(model, TorchModel):
        explainer = Explainer(serving.run, serving.checkpoint, serving.device, rollout=has_rollout(model.network))
    opened = open_gallery(
        serving.gallery, model=model.fingerprint, dimension=model.dimension, token=serving.token,
        collection=serving.collection, consistency=serving.consistency,  # type: ignore[arg-type]
    )  # fmt: skip
    try:
        if opened.run() is None:
            opened.note_run(model.source)
        opened.note_model(ModelCard.of(model))
        if serving.calibration is not None:
            model.calibration = calibration_for(opened, serving.calibration)
        if model.calibration is not None:
            opened.note_calibration(model.calibration)
    except BaseException:
        opened.close()
        raise
    return SearchService(model, opened, serving.options, explainer, watched, siblings)


def described(serving: Serving, service: SearchService) -> list[str]:
    """Lines that tell the operator what is served."""
    model, endpoint = service.model, serving.endpoint
    lines = [
        f"{model.source} ({model.method}, {model.runtime}, {model.precision}), gallery {serving.gallery}: "
        f"{len(service.gallery)} entries, {'no keys' if serving.keys is None else f'keys of {serving.keys}'}, audit log in "
        f"{serving.options.state / 'audit'}"
    ]
    if service.calibration is not None and service.threshold.is_set:
        lines.append(f"a query is unknown if no match reaches {service.threshold.in_words}")
    if serving.watch is not None:
        lines.append(f"who was where, of {serving.watch}: {endpoint.url}/watch, for keys of the roles watch and merge")
    if model.trained:
        lines.append(f"WARNING: the model is {model.trained}")
    if serving.keys is not None and endpoint.certificate is None and not is_loopback(endpoint.host):
        lines.append(
            "keys and images travel unencrypted: give --tls-certificate and --tls-key, or put a TLS proxy in front of it."
        )
    return lines
