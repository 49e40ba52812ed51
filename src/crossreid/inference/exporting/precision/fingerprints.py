"""Which embeddings of files of lower precision may be compared with those of float32.

fp16 keeps the fingerprint of the run: its embeddings differ from float32's by less than those of one image may between
processors, and a file that differs by more is refused. An int8 file has its own fingerprint, derived from the run's and
its graph: its embeddings are those of another, similar network. A gallery does not accept them together with float32's,
or with those of an int8 file calibrated on other images.
"""

from __future__ import annotations

import hashlib

from crossreid.inference.exporting.exported import ExportPrecision


def fingerprint_in(precision: ExportPrecision, fingerprint: str, graph: str) -> str:
    """Return the fingerprint of a file of this precision, from the run's and the digest of the file's graph."""
    if precision != "int8":
        return fingerprint
    return hashlib.sha256(f"crossreid-int8-1\n{fingerprint}\n{graph}".encode()).hexdigest()
