"""From a run's folder and a gallery to a server that answers: `crossreid serve`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.galleries.calibrations import calibration_for
from crossreid.galleries.model_card import ModelCard
from crossreid.galleries.opening import open_gallery
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exported_file import is_exported
from crossreid.inference.open_model import open_model
from crossreid.runs.named_network import pretrained_at
from crossreid.runs.stored_run import run_fingerprint, run_folder
from crossreid.service.configuration import ServiceOptions
from crossreid.service.endpoint import Endpoint, is_loopback, refuse_taken


def open_for_service(
    run: Path, runtime: str | None, *, checkpoint: str = "best", precision: str = "float32", device: str | None = None
) -> EmbeddingModel:
    """The model to serve: a run by torch, or by ONNX Runtime the file that `crossreid export` made of it.

    Raises:
        CrossreidError: no model, an unknown runtime, one that cannot run what is there, or a file that was exported from other
            weights than the run has.
    """
    if runtime not in (None, "torch", "onnx"):
        raise CrossreidError(f"--runtime {runtime!r}: expected torch or onnx.")
    if pretrained_at(run) is not None and runtime == "onnx":
        raise CrossreidError(
            "--runtime onnx: for a network that was not trained here make the file first, crossreid export --backbone NAME --out "
            "FILE.onnx, and serve it."
        )
    if is_exported(run) and runtime == "torch":
        raise CrossreidError(f"{run} is served by --runtime onnx; for torch name the run's folder.")
    if is_exported(run) or runtime != "onnx":
        return open_model(run, checkpoint=checkpoint, precision=precision, device=device)  # type: ignore[arg-type]
    path = run_folder(run) / "model.onnx"
    again = f"crossreid export {run} --to onnx{'' if checkpoint == 'best' else f' --checkpoint {checkpoint}'}"
    if not path.is_file():
        raise CrossreidError(f"{path} not found. Make it first: {again}")
    model = open_model(path, precision=precision, device=device)  # type: ignore[arg-type]
    expected = run_fingerprint(run, checkpoint)
    if model.fingerprint != expected:
        raise CrossreidError(
            f"{path} is not of the run's {checkpoint} checkpoint as it is now: its fingerprint is {model.fingerprint[:12]}..., the "
            f"run's {expected[:12]}.... Export it again: {again}"
        )
    return model


def refuse_open_door(endpoint: Endpoint, keys: Path | None, insecure: bool) -> None:
    """Raises `CrossreidError` for a service that would serve anyone who reaches it, or that says both."""
    if insecure and keys is not None:
        raise CrossreidError("--keys and --insecure contradict each other; leave one out.")
    if keys is None and not insecure:
        raise CrossreidError(
            "who may ask? Expected --keys FILE (make one: crossreid keys add NAME --role search --file FILE), or, on this "
            "machine only, --insecure."
        )
    if insecure and not is_loopback(endpoint.host):
        raise CrossreidError(
            f"--insecure at {endpoint.host}: without keys the service answers to this machine only. Use --host 127.0.0.1, or "
            "--keys FILE."
        )
    if (endpoint.certificate is None) != (endpoint.certificate_key is None):
        raise CrossreidError("expected both --tls-certificate and --tls-key, or neither.")


def serve(
    run: Path,
    gallery: str,
    endpoint: Endpoint,
    options: ServiceOptions,
    *,
    keys: Path | None,
    insecure: bool,
    runtime: str | None = None,
    checkpoint: str = "best",
    precision: str = "float32",
    device: str | None = None,
    token: str | None = None,
    collection: str = "crossreid",
    calibration: Path | None = None,
    watch: Path | None = None,
    say: Callable[[str], Any] = print,
) -> None:
    """Serve until told to stop. `calibration`: a run or a file that has it, where the model and the gallery do not.

    Raises:
        CrossreidError: no model, no gallery, another model's, one that is in use, no keys, an address that is taken, a folder that
            nothing was watched into.
    """
    try:
        from crossreid.service.application import create_app
        from crossreid.service.http_server import server
    except ImportError as error:
        raise CrossreidError(f"{error.name} is not installed. Install it: pip install 'crossreid[serve]'.") from error
    from crossreid.analysis.rollout import has_rollout
    from crossreid.inference.torch_model import TorchModel
    from crossreid.service.explainer import Explainer
    from crossreid.service.keys import Keys
    from crossreid.service.search_service import SearchService
    from crossreid.service.watch_folder import WatchFolder

    warnings.filterwarnings("ignore", module="PIL")  # what decoders say of hostile images, up to thousands of times
    refuse_open_door(endpoint, keys, insecure)
    known = None if keys is None else Keys(keys)
    refuse_taken(endpoint)
    watched = None if watch is None else WatchFolder(watch)
    model = open_for_service(run, runtime, checkpoint=checkpoint, precision=precision, device=device)
    explainer = None
    if isinstance(model, TorchModel):
        explainer = Explainer(run, checkpoint, device, rollout=has_rollout(model.network))
    opened = open_gallery(
        gallery, model=model.fingerprint, dimension=model.dimension, token=token, collection=collection
    )
    if opened.run() is None:
        opened.note_run(model.source)
    opened.note_model(ModelCard.of(model))
    try:
        if calibration is not None:
            model.calibration = calibration_for(opened, calibration)
        if model.calibration is not None:
            opened.note_calibration(model.calibration)
    except BaseException:
        opened.close()
        raise
    service = SearchService(model, opened, options, explainer, watched)
    try:
        running = server(create_app(service, known), endpoint, options)
        say(
            f"{model.source} ({model.method}, {model.runtime}, {model.precision}), gallery {gallery}: {len(opened)} entries, "
            f"{'no keys' if known is None else f'keys of {keys}'}, audit log in {options.state / 'audit'}"
        )
        if service.calibration is not None and service.threshold.is_set:
            say(f"a query is unknown where no match reaches {service.threshold.in_words}")
        if watch is not None:
            say(f"who was where, of {watch}: {endpoint.url}/watch, for keys of the roles watch and merge")
        if model.trained:
            say(f"WARNING: the model is {model.trained}")
        if known is not None and endpoint.certificate is None and not is_loopback(endpoint.host):
            say(
                "keys and images travel unencrypted: give --tls-certificate and --tls-key, or put a proxy with TLS before it."
            )
        say(f"serving {endpoint.url} until Ctrl-C")
        running.run()
    finally:
        service.close()
