"""`--engine`: what computes embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.errors import CrossreidError

if TYPE_CHECKING:
    from crossreid.inference.engines import names

Engine = Annotated[
    str | None,
    typer.Option(
        help="torch (the default), onnx, openvino or torch-export: RUN/model.onnx, .xml or .pt2; fastest: measured."
    ),
]


def engine_of(engine: str | None, runtime: str | None = None) -> names.Asked | None:
    """The engine that is asked for, under this name or the earlier one; None where none is.

    Raises:
        CrossreidError: there is none of that name, or both names say different things.
    """
    from crossreid.inference.engines.names import parse_asked

    if engine is not None and runtime not in (None, engine):
        raise CrossreidError(f"--engine {engine} and --runtime {runtime}: they are one option; leave --runtime out.")
    chosen = engine or runtime
    return None if chosen is None else parse_asked(chosen)
