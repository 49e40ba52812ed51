"""Options of commands that open a gallery: where a cluster keeps it, and from where on a match is accepted."""

from __future__ import annotations

from typing import Annotated

import typer

Token = Annotated[str | None, typer.Option(envvar="MILVUS_TOKEN", help="Of a Milvus cluster.")]
Collection = Annotated[str, typer.Option(help="Of a Milvus cluster.")]
UnknownBelow = Annotated[
    float | None, typer.Option(metavar="P", help="A query is unknown where no match has this probability.")
]
FalseAcceptRate = Annotated[
    float | None, typer.Option(metavar="R", help="Or where none has the score of this false-accept rate.")
]
