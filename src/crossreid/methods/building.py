"""From the `method` section of a recipe to the method: look up its name, validate its options, build its network."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError, PydanticKnownError

from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.errors import CrossreidError
from crossreid.methods.method import METHODS, Method, MethodOptions
from crossreid.models.domain_norm import MEAN_OF_DOMAINS, DomainNorm, count_as, put_domain_norm

UNKNOWN_METHOD = "unknown_method"


def build_method(options: MethodOptions, classes: int, *, normalisation: Normalisation = IMAGENET) -> Method:
    """The method that `options` name, for this number of training identities, with freshly initialised weights.

    Args:
        normalisation: of its input images.
    """
    if classes < 2:
        raise CrossreidError(f"expected at least 2 training identities, found {classes}.")
    registered = METHODS.find(options.name)
    side = options.encoder.transformer.side_information
    if side != "none" and not registered.owner.takes_side_information:
        takers = ", ".join(name for name, method in METHODS.items() if method.owner.takes_side_information)
        raise CrossreidError(
            f"the backbone's transformer.side_information is {side}, but {options.name} passes its backbone neither "
            f"camera nor modality. Set it to none, or choose a method that does: {takers}."
        )
    method = registered.build(options, classes)
    _put_norms_of_domains(method, options)
    for part in method.modules():
        if isinstance(part, Method):
            part.normalisation = normalisation
    return method


def _put_norms_of_domains(method: Method, options: MethodOptions) -> None:
    """Give the encoders batch norm per domain if the backbone's options ask for it and name the domains."""
    encoder = options.encoder
    if encoder.domain_norm == "shared":
        return
    if not encoder.domains:
        raise CrossreidError(
            f"method.backbone.domain_norm is {encoder.domain_norm}, but there is one data set. Give `data` several sources, or set it "
            "to shared."
        )
    swapped = sum(put_domain_norm(part, len(encoder.domains), encoder.domain_norm) for part in method.encoders)
    # A network inside another method already has them.
    if not swapped and not any(isinstance(module, DomainNorm) for module in method.modules()):
        raise CrossreidError(
            f"backbone {encoder.name!r} has no batch norm, so method.backbone.domain_norm={encoder.domain_norm} has nothing to "
            "do. Set it to shared."
        )
    count_as(method, None if encoder.tested_as == MEAN_OF_DOMAINS else encoder.domains.index(encoder.tested_as))


def method_options(given: Any) -> MethodOptions:
    """The options described by a mapping with a method's `name`; options are returned unchanged.

    Raises:
        pydantic_core.PydanticCustomError: of type `unknown_method`, if no method has that name. Like pydantic's own
            errors, it is meant for a validator that calls this one.
        pydantic.ValidationError: invalid options.
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


def with_encoder(options: MethodOptions, **changes: Any) -> MethodOptions:
    """The same options with other values in the section of the image backbone, validated again."""
    given = options.model_dump()
    network = given.get("network")
    section = network if isinstance(network, dict) else given
    section["backbone"] = {**options.encoder.model_dump(), **changes}
    return method_options(given)


def without_download(options: MethodOptions) -> MethodOptions:
    """The same options with random weights in the backbones: for a network that will be loaded from a checkpoint."""
    return options.without_download()
