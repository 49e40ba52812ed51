"""The table of methods: a name, its options and its network. A new method is a new file and a line here."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from crossreid.methods.baseline import Baseline, BaselineOptions
from crossreid.methods.information_bottleneck import InformationBottleneck, InformationBottleneckOptions
from crossreid.methods.method import Method
from crossreid.methods.variational_distillation import VariationalDistillation, VariationalDistillationOptions
from crossreid.methods.variational_information_bottleneck import (
    VariationalInformationBottleneck,
    VariationalInformationBottleneckOptions,
)
from crossreid.options import Options

AnyOptions = (
    VariationalDistillationOptions
    | InformationBottleneckOptions
    | VariationalInformationBottleneckOptions
    | BaselineOptions
)
MethodOptions = Annotated[AnyOptions, Field(discriminator="name")]
OPTIONS: dict[str, type[Options]] = {options.model_fields["name"].default: options for options in get_args(AnyOptions)}

METHODS: dict[str, type] = {
    "variational_distillation": VariationalDistillation,
    "information_bottleneck": InformationBottleneck,
    "variational_information_bottleneck": VariationalInformationBottleneck,
    "baseline": Baseline,
}


def build_method(options: AnyOptions, classes: int) -> Method:
    """The method that `options` name, for so many training identities, with freshly drawn weights."""
    if classes < 2:
        raise ValueError(f"expected at least 2 training identities, found {classes}.")
    method: Method = METHODS[options.name](options, classes)
    return method
