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
    """Return the requested engine, by this option or by its earlier name; None if neither is given.

    Raises:
        CrossreidError: no engine has that name, or the two options disagree.
    """
    from crossreid.inference.engines.names import parse_asked

    if engine is not None and runtime not in (None, engine):
        raise CrossreidError(
            f"--engine {engine} and --runtime {runtime}: both are the same option; leave --runtime out."
        )
    chosen = engine or runtime
    return None if chosen is None else parse_asked(chosen)
