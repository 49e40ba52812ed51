"""The table of methods: a name, its options and its network. A new method is a new file and a line here."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from crossreid.errors import CrossreidError
from crossreid.methods.agw import AGW, AGWOptions
from crossreid.methods.baseline import Baseline, BaselineOptions
from crossreid.methods.implicit_knowledge import ImplicitKnowledge, ImplicitKnowledgeOptions
from crossreid.methods.information_bottleneck import InformationBottleneck, InformationBottleneckOptions
from crossreid.methods.method import Method
from crossreid.methods.variational_distillation import VariationalDistillation, VariationalDistillationOptions
from crossreid.methods.variational_information_bottleneck import (
    VariationalInformationBottleneck,
    VariationalInformationBottleneckOptions,
)
from crossreid.methods.view_distillation import ViewDistillation, ViewDistillationOptions
from crossreid.options import Options

AnyOptions = (
    VariationalDistillationOptions
    | InformationBottleneckOptions
    | VariationalInformationBottleneckOptions
    | BaselineOptions
    | AGWOptions
    | ImplicitKnowledgeOptions
    | ViewDistillationOptions
)
MethodOptions = Annotated[AnyOptions, Field(discriminator="name")]
_NETWORK: TypeAdapter[AnyOptions] = TypeAdapter(MethodOptions)
OPTIONS: dict[str, type[Options]] = {options.model_fields["name"].default: options for options in get_args(AnyOptions)}

METHODS: dict[str, type] = {
    "variational_distillation": VariationalDistillation,
    "information_bottleneck": InformationBottleneck,
    "variational_information_bottleneck": VariationalInformationBottleneck,
    "baseline": Baseline,
    "agw": AGW,
    "implicit_knowledge": ImplicitKnowledge,
    "view_distillation": ViewDistillation,
}


def build_method(options: AnyOptions, classes: int) -> Method:
    """The method that `options` name, for so many training identities, with freshly drawn weights."""
    if classes < 2:
        raise CrossreidError(f"expected at least 2 training identities, found {classes}.")
    if isinstance(options, ViewDistillationOptions):
        return ViewDistillation(options, classes, _build_network)
    method: Method = METHODS[options.name](options, classes)
    return method


def _build_network(given: dict[str, Any], classes: int) -> Method:
    """The method that `method.network` of a recipe describes."""
    return build_method(network_options(given), classes)


def network_options(given: dict[str, Any]) -> AnyOptions:
    """The options of the method that `method.network` of a recipe describes.

    Raises:
        CrossreidError: what pydantic finds wrong in them, or the network is view_distillation's own.
    """
    try:
        options = _NETWORK.validate_python(given)
    except ValidationError as error:
        place, message = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise CrossreidError(f"method.network{''.join(f'.{part}' for part in place[1:])}: {message}") from error
    if isinstance(options, ViewDistillationOptions):
        raise CrossreidError("method.network is for other methods' networks; leave it out for view_distillation's own")
    return options


def without_download(options: AnyOptions) -> AnyOptions:
    """The same options with random weights in the backbone: for a network that a checkpoint is loaded into."""
    changed: dict[str, Any] = {"backbone": options.backbone.model_copy(update={"weights": "none"})}
    if isinstance(options, ViewDistillationOptions) and options.network is not None:
        inner = without_download(network_options(options.network))
        changed["network"] = inner.model_dump(mode="json")
    return options.model_copy(update=changed)
