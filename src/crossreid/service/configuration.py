"""What an operator decides about the service; the defaults are for crops of people on one machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from crossreid.errors import CrossreidError
from crossreid.files import key_value
from crossreid.galleries.location import is_cluster
from crossreid.options import Options
from crossreid.runs.yaml_text import YamlError, read_yaml


class ServiceOptions(Options):
    """Limits, retention and folders of a service. Raises pydantic's ValidationError for values that cannot be."""

    images: tuple[Path, ...] = Field((), description="Folders below which sources of entries are shown as images.")
    state: Path = Field(Path("service"), description="Folder of the audit log and of kept images.")
    keep_images: bool = Field(False, description="Keep a small copy of each image that is enrolled.")
    retain_days: float | None = Field(
        None, gt=0, le=36_500, description="Delete entries taken or added longer ago; None keeps them."
    )
    retain_audit_days: int | None = Field(
        90, ge=1, le=36_500, description="Delete days of the audit log that are older; None keeps them."
    )
    compact_hours: float = Field(1, ge=0, description="Between two removals of what deleted entries left in the files.")
    max_bytes: int = Field(16_000_000, ge=1_000, description="Of a request.")
    max_pixels: int = Field(16_000_000, ge=1, description="Of an image.")
    max_images: int = Field(16, ge=1, description="Of a request.")
    max_k: int = Field(200, ge=1, description="Matches of a search.")
    rate: float = Field(
        20, ge=0, description="Requests a second of a key that compute; ten times as many that read. 0: any."
    )
    in_flight: int = Field(128, ge=1, description="Requests at a time; more are told to come back.")
    seconds: float = Field(10, gt=0, description="For a client to send its request's head, and again its body.")
    answer_seconds: float = Field(60, gt=0, description="For an answer, until the client has taken it.")
    unknown_below: float | None = Field(
        None, gt=0, lt=1, description="A query is unknown where no match has this probability."
    )
    false_accept_rate: float | None = Field(
        None, gt=0, lt=1, description="Or where no match has the score of this false-accept rate."
    )
    batch: int = Field(32, ge=1, description="Images of a forward pass, of whatever requests.")
    batch_wait: float = Field(0.002, ge=0, description="Seconds that an idle network waits for company.")
    decoders: int = Field(os.cpu_count() or 1, ge=1, description="Images decoded at a time, each in a process.")
    decode_seconds: float = Field(
        5, gt=0, le=600, description="Of computing that decoding an image may take; three times as many on the clock."
    )


def service_options(
    gallery: str,
    overrides: Sequence[str] = (),
    *,
    state: Path | None = None,
    images: Sequence[Path] = (),
    **values: object,
) -> ServiceOptions:
    """The options of the service of a gallery, of values and of `KEY=VALUE` texts, whose values are YAML.

    Args:
        gallery: its folder, file or address, beside which `state` lies by default (`GALLERY.service`).

    Raises:
        CrossreidError: no folder of state for a gallery in a cluster, a folder of images that there is not, an unknown key, or a
            value that cannot be; it is named.
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
            raise CrossreidError(f"--set {text!r}: {value!r} is no YAML value.") from error
    try:
        return ServiceOptions(**given)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))} = {each['input']!r}: {each['msg']}" for each in error.errors()]
        raise CrossreidError(f"the service cannot be set so: {'; '.join(wrong)}.") from error
