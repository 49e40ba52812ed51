"""Optional libraries: each belongs to an extra, which the error names if the library is missing.

Training and evaluation need none of them. Code that needs one imports it with `needed` or checks it with `require`; for
modules that import theirs at the top, the command line and the public names turn the ImportError into the same message
(`missing_extra`).
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from crossreid.errors import CrossreidError

# For each module: the package that contains it, and the extra that installs it, in most cases alone.
LIBRARIES = {
    "faiss": ("faiss-cpu", "search"),
    "pyarrow": ("pyarrow", "search"),
    "captum": ("captum", "analysis"),
    "matplotlib": ("matplotlib", "analysis"),
    "sklearn": ("scikit-learn", "analysis"),
    "fastapi": ("fastapi", "serve"),
    "prometheus_client": ("prometheus-client", "serve"),
    "python_multipart": ("python-multipart", "serve"),
    "uvicorn": ("uvicorn", "serve"),
    "milvus_lite": ("milvus-lite", "milvus"),
    "pymilvus": ("pymilvus", "milvus"),
    "onnx": ("onnx", "export"),
    "onnxruntime": ("onnxruntime", "export"),
    "onnxscript": ("onnxscript", "export"),
    "nncf": ("nncf", "openvino"),
    "openvino": ("openvino", "openvino"),
    "peft": ("peft", "lora"),
    "pytorch_metric_learning": ("pytorch-metric-learning", "metric"),
    "fsspec": ("fsspec", "storage"),
    "gcsfs": ("gcsfs", "storage"),
    "s3fs": ("s3fs", "storage"),
    "ray": ("ray", "ray"),
    "av": ("av", "video"),
    "cv2": ("opencv-python-headless", "video"),
    "httpx": ("httpx", "video"),
    "paho": ("paho-mqtt", "video"),
    "supervision": ("trackers", "video"),
    "trackers": ("trackers", "video"),
    "mindspore": ("mindspore", "mindspore"),
}


class MissingExtra(CrossreidError, ImportError):
    """A library that is not installed; the message names the extra that installs it."""


def install(*extras: str) -> str:
    """Return the command that installs extras."""
    return f"pip install 'crossreid[{','.join(dict.fromkeys(extras))}]'"


def needed(module: str, what: str) -> Any:
    """Import and return the module; messages begin with `what`, which needs it.

    Raises:
        MissingExtra: it is not installed, or it is but cannot be imported.
    """
    try:
        importlib.import_module(module.partition(".")[0])  # even if the submodule was imported before
        return importlib.import_module(module)
    except ImportError as error:
        raise _explained(error, module, what) from error


def require(what: str, *modules: str) -> None:
    """Raise `MissingExtra` before `what` begins if one of the modules is not installed; imports none of them."""
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        packages, extras = zip(*(LIBRARIES[module] for module in missing), strict=True)
        named, are = (
            (packages[0], "is") if len(packages) == 1 else (f"{', '.join(packages[:-1])} and {packages[-1]}", "are")
        )
        raise MissingExtra(f"{what} needs {named}, which {are} not installed: {install(*extras)}.")


def modules_of(extra: str) -> tuple[str, ...]:
    """Return the modules that an extra itself installs."""
    return tuple(module for module, (_, own) in LIBRARIES.items() if own == extra)


def is_installed(module: str) -> bool:
    """Return whether a module can be found; a folder of that name in the working directory does not count."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


def missing_extra(error: BaseException, what: str = "this") -> MissingExtra | None:
    """Explain the ImportError of a library in `LIBRARIES`; None for any other error."""
    if not isinstance(error, ImportError) or isinstance(error, MissingExtra) or not error.name:
        return None
    return _explained(error, error.name, what) if error.name.partition(".")[0] in LIBRARIES else None


def _explained(error: ImportError, module: str, what: str) -> MissingExtra:
    root = module.partition(".")[0]
    package, extra = LIBRARIES[root]
    is_there = not isinstance(error, ModuleNotFoundError) or (error.name or "").partition(".")[0] != root
    why = f"which cannot be imported ({' '.join(str(error).split())})" if is_there else "which is not installed"
    return MissingExtra(f"{what} needs {package}, {why}: {install(extra)}.")
