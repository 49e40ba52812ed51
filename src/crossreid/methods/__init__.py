"""Methods: one file per method, which registers itself in `METHODS`; all files here are found automatically.

Importing one method imports no other. `METHODS` imports all of ours and those of plugins on first access.
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
