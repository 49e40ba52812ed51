"""The re-rankings and their options; `crossreid.evaluation.reranking` says what they do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from crossreid.errors import CrossreidError
from crossreid.options import Options


class KReciprocal(Options):
    """How k-reciprocal re-ranking changes distances (Zhong et al., CVPR 2017)."""

    k1: int = Field(20, ge=1, description="Number of neighbours that may be reciprocal.")
    k2: int = Field(6, ge=1, description="Number of neighbours whose encodings are averaged; 1 for no averaging.")
    weight: float = Field(0.3, ge=0, le=1, description="lambda, the share of the original distance.")
    gallery: Literal["seen", "hidden"] = Field(
        "seen",
        description="`hidden`: neighbours are searched only among the queries, as in IDKL's release on SYSU-MM01.",
    )

    def __str__(self) -> str:
        hidden = ", gallery hidden from the neighbour search" if self.gallery == "hidden" else ""
        return f"k-reciprocal (k1 {self.k1}, k2 {self.k2}, lambda {self.weight:g}{hidden})"


class QueryExpansion(Options):
    """How alpha query expansion changes queries before they are compared (Radenovic et al., TPAMI 2019)."""

    neighbours: int = Field(10, ge=1, description="Number of gallery entries that a query is combined with.")
    alpha: float = Field(3.0, ge=0, description="Exponent of their similarities.")

    def __str__(self) -> str:
        return f"alpha query expansion (n {self.neighbours}, alpha {self.alpha:g})"


Reranking = KReciprocal | QueryExpansion
RERANKINGS: dict[str, type[KReciprocal] | type[QueryExpansion]] = {
    "k-reciprocal": KReciprocal,
    "query-expansion": QueryExpansion,
}
Normalise = Literal["camera", "modality"]


def make_reranking(name: str, options: dict[str, str] | None = None) -> Reranking:
    """Return a re-ranking by its name in `RERANKINGS`, with options as text.

    Raises:
        CrossreidError: an unknown option or method, or an invalid value; it is named.
    """
    if name not in RERANKINGS:
        raise CrossreidError(f"unknown re-ranking '{name}'; choose one of: {', '.join(RERANKINGS)}.")
    kind = RERANKINGS[name]
    try:
        return kind.model_validate(options or {})
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.model_fields)
        raise CrossreidError(
            f"re-ranking {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}. Options: {known}."
        ) from error
