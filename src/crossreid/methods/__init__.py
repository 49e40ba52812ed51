"""The table of methods: a name, its options and its network. A new method is a new file and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from crossreid.methods.baseline import Baseline, BaselineOptions
from crossreid.methods.method import Method
from crossreid.methods.variational_distillation import VariationalDistillation, VariationalDistillationOptions

MethodOptions = Annotated[VariationalDistillationOptions | BaselineOptions, Field(discriminator="name")]

METHODS: dict[str, type] = {
    "variational_distillation": VariationalDistillation,
    "baseline": Baseline,
}


def build_method(options: VariationalDistillationOptions | BaselineOptions, classes: int) -> Method:
    """The method that `options` name, for so many training identities, with freshly drawn weights."""
    if classes < 2:
        raise ValueError(f"expected at least 2 training identities, found {classes}.")
    method: Method = METHODS[options.name](options, classes)
    return method
