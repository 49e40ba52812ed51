"""From a run's folder and a gallery to a server that answers: `crossreid serve`."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.galleries.opening import open_gallery
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exported_file import is_exported
from crossreid.inference.open_model import open_model
from crossreid.inference.stored_run import run_fingerprint, run_folder
from crossreid.service.settings import Settings, is_loopback


@dataclass(frozen=True, slots=True)
class Where:
    """Address and port to listen at; certificate and key for HTTPS; the proxy whose word about addresses is believed."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    certificate_key: Path | None = None
    proxy: str | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.certificate else ''}://{host}:{self.port}"


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


def refuse_open_door(where: Where, keys: Path | None, insecure: bool) -> None:
    """Raises `CrossreidError` for a service that would serve anyone who reaches it, or that says both."""
    if insecure and keys is not None:
        raise CrossreidError("--keys and --insecure contradict each other; leave one out.")
    if keys is None and not insecure:
        raise CrossreidError(
            "who may ask? Expected --keys FILE (make one: crossreid keys add NAME --role search --file FILE), or, on this "
            "machine only, --insecure."
        )
    if insecure and not is_loopback(where.host):
        raise CrossreidError(
            f"--insecure at {where.host}: without keys the service answers to this machine only. Use --host 127.0.0.1, or "
            "--keys FILE."
        )
    if (where.certificate is None) != (where.certificate_key is None):
        raise CrossreidError("expected both --tls-certificate and --tls-key, or neither.")


def server(app: Any, where: Where, settings: Settings) -> Any:
    """uvicorn, ready to run. Raises `CrossreidError` where the certificate or its key cannot be read."""
    import uvicorn

    from crossreid.service.protocol import with_deadline

    protocol = with_deadline(settings.seconds, settings.answer_seconds, connections=8 * settings.in_flight)
    config = uvicorn.Config(
        app, host=where.host, port=where.port, http=protocol, ws="none", lifespan="on", log_level="error", access_log=False,
        server_header=False, timeout_keep_alive=int(max(1, settings.seconds)), proxy_headers=where.proxy is not None,
        forwarded_allow_ips=where.proxy, h11_max_incomplete_event_size=32_768,
        ssl_certfile=where.certificate, ssl_keyfile=where.certificate_key, timeout_graceful_shutdown=10,
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise CrossreidError(
            f"{where.certificate}, {where.certificate_key}: no certificate and key ({error})."
        ) from error
    return uvicorn.Server(config)


def serve(
    run: Path,
    gallery: str,
    where: Where,
    settings: Settings,
    *,
    keys: Path | None,
    insecure: bool,
    runtime: str | None = None,
    checkpoint: str = "best",
    precision: str = "float32",
    device: str | None = None,
    token: str | None = None,
    collection: str = "crossreid",
    say: Callable[[str], Any] = print,
) -> None:
    """Serve until told to stop.

    Raises:
        CrossreidError: no model, no gallery, another model's, one that is in use, no keys, an address that is taken.
    """
    try:
        from crossreid.service.app import create_app
    except ImportError as error:
        raise CrossreidError(f"{error.name} is not installed. Install it: pip install 'crossreid[serve]'.") from error
    from crossreid.service.attending import Explainer
    from crossreid.service.keys import Keys
    from crossreid.service.service import Service

    warnings.filterwarnings("ignore", module="PIL")  # what decoders say of hostile images, up to thousands of times
    refuse_open_door(where, keys, insecure)
    known = None if keys is None else Keys(keys)
    _refuse_taken(where)
    model = open_for_service(run, runtime, checkpoint=checkpoint, precision=precision, device=device)
    explainer = Explainer(run, checkpoint, device) if model.runtime == "torch" else None
    opened = open_gallery(
        gallery, model=model.fingerprint, dimension=model.dimension, token=token, collection=collection
    )
    service = Service(model, opened, settings, explainer)
    try:
        running = server(create_app(service, known), where, settings)
        say(
            f"{model.source} ({model.method}, {model.runtime}, {model.precision}), gallery {gallery}: {len(opened)} entries, "
            f"{'no keys' if known is None else f'keys of {keys}'}, audit log in {settings.state / 'audit'}"
        )
        if known is not None and where.certificate is None and not is_loopback(where.host):
            say(
                "keys and images travel unencrypted: give --tls-certificate and --tls-key, or put a proxy with TLS before it."
            )
        say(f"serving {where.url} until Ctrl-C")
        running.run()
    finally:
        service.close()


def _refuse_taken(where: Where) -> None:
    """Raises `CrossreidError` where the address cannot be listened at: before a model is read, and in our words."""
    import socket

    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((where.host, where.port))
    except OSError as error:
        raise CrossreidError(
            f"{where.host}:{where.port} cannot be listened at ({error.strerror}); take another --port."
        ) from error
