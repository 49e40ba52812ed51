"""Options of commands that open a gallery: its place in a cluster, and the threshold for a match."""

from __future__ import annotations

from typing import Annotated

import typer

Token = Annotated[str | None, typer.Option(envvar="MILVUS_TOKEN", help="Token of a Milvus cluster.")]
Collection = Annotated[str, typer.Option(help="Collection of a Milvus cluster.")]
UnknownBelow = Annotated[
    float | None, typer.Option(metavar="P", help="A query is unknown if no match reaches this probability.")
]
FalseAcceptRate = Annotated[
    float | None, typer.Option(metavar="R", help="Or: if none reaches the score of this false-accept rate.")
]
