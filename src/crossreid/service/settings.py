"""What an operator decides about the service; the defaults are for crops of people on one machine."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import Field, ValidationError

from crossreid.errors import CrossreidError
from crossreid.options import Options

Role = Literal["search", "enrol", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


class Settings(Options):
    """Limits, retention and places of a service. Raises pydantic's ValidationError for values that cannot be."""

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
    batch: int = Field(32, ge=1, description="Images of a forward pass, of whatever requests.")
    batch_wait: float = Field(0.002, ge=0, description="Seconds that an idle network waits for company.")
    workers: int = Field(os.cpu_count() or 1, ge=1, description="Threads that decode images.")


def make_settings(overrides: Sequence[str] = (), **values: object) -> Settings:
    """Settings of values and of `key=value` texts, whose values are YAML.

    Raises:
        CrossreidError: an unknown key, or a value that cannot be; it is named.
    """
    given = dict(values)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in Settings.model_fields:
            raise CrossreidError(f"--set {text!r}: expected KEY=VALUE, of {', '.join(Settings.model_fields)}.")
        try:
            given[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise CrossreidError(f"--set {text!r}: {value!r} is no YAML value.") from error
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        told = [f"{'.'.join(map(str, each['loc']))} = {each['input']!r}: {each['msg']}" for each in error.errors()]
        raise CrossreidError(f"the service cannot be set so: {'; '.join(told)}.") from error


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
