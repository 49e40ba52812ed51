"""From what a recipe says under `method` to the method: its name looked up, its options validated, its network built."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError, PydanticKnownError

from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.errors import CrossreidError
from crossreid.methods.method import METHODS, Method, MethodOptions

UNKNOWN_METHOD = "unknown_method"


def build_method(options: MethodOptions, classes: int, *, normalisation: Normalisation = IMAGENET) -> Method:
    """The method that `options` name, for so many training identities, with freshly drawn weights.

    Args:
        normalisation: of the images that it will be given.
    """
    if classes < 2:
        raise CrossreidError(f"expected at least 2 training identities, found {classes}.")
    registered = METHODS.find(options.name)
    side = options.encoder.transformer.side_information
    if side != "none" and not registered.owner.takes_side_information:
        takers = ", ".join(name for name, method in METHODS.items() if method.owner.takes_side_information)
        raise CrossreidError(
            f"the backbone's transformer.side_information is {side}, but {options.name} tells its backbone neither "
            f"camera nor modality. Set it to none, or choose a method that does: {takers}."
        )
    method = registered.build(options, classes)
    for part in method.modules():
        if isinstance(part, Method):
            part.normalisation = normalisation
    return method


def method_options(given: Any) -> MethodOptions:
    """The options that a mapping with a method's `name` describes; options as they are.

    Raises:
        pydantic_core.PydanticCustomError: of type `unknown_method`, where no method has that name. It, like pydantic's own
            errors, is for a validator that calls this one.
        pydantic.ValidationError: what is wrong in the options.
    """
    if isinstance(given, MethodOptions):
        return given
    if not isinstance(given, dict):
        raise PydanticKnownError("model_attributes_type")
    name = given.get("name")
    if not isinstance(name, str) or name not in METHODS:
        said = f"expected one of {', '.join(METHODS)}, found {repr(name)[:80]}"
        raise PydanticCustomError(UNKNOWN_METHOD, "{said}", {"said": said})
    return METHODS[name].options.model_validate(given)


def without_download(options: MethodOptions) -> MethodOptions:
    """The same options with random weights in the backbones: for a network that a checkpoint is loaded into."""
    return options.without_download()
