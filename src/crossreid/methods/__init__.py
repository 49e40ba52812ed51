"""Methods: one file a method, which registers itself in `METHODS`; files here are found by being here.

Importing one method imports no other. `METHODS` imports all of ours, and those of plugins, when it is first looked into.
"""

from crossreid.methods.building import build_method, method_options, with_encoder, without_download
from crossreid.methods.method import (
    METHODS,
    Batch,
    Encoding,
    Method,
    MethodOptions,
    Network,
    RegisteredMethod,
    register_method,
)

__all__ = [
    "METHODS",
    "Batch",
    "Encoding",
    "Method",
    "MethodOptions",
    "Network",
    "RegisteredMethod",
    "build_method",
    "method_options",
    "register_method",
    "with_encoder",
    "without_download",
]
