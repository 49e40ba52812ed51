"""The operator's settings of the service; the defaults suit crops of people on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from crossreid.errors import CrossreidError
from crossreid.files import key_value
from crossreid.galleries.location import is_cluster
from crossreid.options import Options
from crossreid.processors import processors
from crossreid.runs.yaml_text import YamlError, read_yaml


class ServiceOptions(Options):
    """Limits, retention and folders of a service. Raises pydantic's ValidationError for invalid values."""

    images: tuple[Path, ...] = Field((), description="Folders under which entries' sources may be shown as images.")
    state: Path = Field(Path("service"), description="Folder of the audit log and the kept images.")
    keep_images: bool = Field(False, description="Keep a small copy of each enrolled image.")
    retain_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="Delete entries taken or added more than this many days ago; None keeps them.",
    )
    retain_audit_days: int | None = Field(
        90,
        ge=1,
        le=36_500,
        description="Delete audit log files that are more than this many days old; None keeps them.",
    )
    compact_hours: float = Field(
        1, ge=0, description="Hours between two removals of what deleted entries left in the files."
    )
    max_bytes: int = Field(16_000_000, ge=1_000, description="Most bytes of a request.")
    max_pixels: int = Field(16_000_000, ge=1, description="Most pixels of an image.")
    max_images: int = Field(16, ge=1, description="Most images of a request.")
    max_k: int = Field(200, ge=1, description="Most matches of a search.")
    rate: float = Field(
        20, ge=0, description="Computing requests per second and key; ten times as many that only read. 0: no limit."
    )
    in_flight: int = Field(128, ge=1, description="Requests served at a time; further ones are told to retry.")
    seconds: float = Field(10, gt=0, description="Seconds a client has to send a request's head, and again its body.")
    answer_seconds: float = Field(60, gt=0, description="Seconds a client has to receive the answer.")
    unknown_below: float | None = Field(
        None, gt=0, lt=1, description="A query is unknown if no match reaches this probability."
    )
    false_accept_rate: float | None = Field(
        None, gt=0, lt=1, description="Or if no match reaches the score of this false-accept rate."
    )
    batch: int = Field(32, ge=1, description="Images per forward pass, across requests.")
    batch_wait: float = Field(0.002, ge=0, description="Seconds an idle network waits to fill a batch.")
    decoders: int = Field(processors(), ge=1, description="Images decoded at a time, each in its own process.")
    decode_seconds: float = Field(
        5,
        gt=0,
        le=600,
        description="CPU seconds that decoding an image may take; three times as many of wall-clock time.",
    )


def service_options(
    gallery: str,
    overrides: Sequence[str] = (),
    *,
    state: Path | None = None,
    images: Sequence[Path] = (),
    **values: object,
) -> ServiceOptions:
    """The service options of a gallery, from values and from `KEY=VALUE` texts whose values are YAML.

    Args:
        gallery: its folder, file or address, beside which `state` lies by default (`GALLERY.service`).

    Raises:
        CrossreidError: no state folder for a gallery in a cluster, a folder of images that does not exist, an unknown key, or
            an invalid value; the message names it.
    """
    if state is None:
        if is_cluster(gallery):
            raise CrossreidError("with a gallery in a cluster, --state DIR is needed: the folder of the audit log.")
        state = Path(f"{gallery.rstrip('/')}.service")
    for folder in images:
        if not folder.is_dir():
            raise CrossreidError(f"--images {folder}: expected a folder.")
    given: dict[str, Any] = {"images": tuple(images), "state": state, **values}
    known = f"KEY=VALUE, of {', '.join(ServiceOptions.model_fields)}"
    for text in overrides:
        key, value = key_value(text, "--set", known)
        if key not in ServiceOptions.model_fields:
            raise CrossreidError(f"--set {text!r}: expected {known}.")
        try:
            given[key] = read_yaml(value)
        except YamlError as error:
            raise CrossreidError(f"--set {text!r}: {value!r} is not a YAML value.") from error
    try:
        return ServiceOptions(**given)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))} = {each['input']!r}: {each['msg']}" for each in error.errors()]
        raise CrossreidError(f"invalid service options: {'; '.join(wrong)}.") from error
