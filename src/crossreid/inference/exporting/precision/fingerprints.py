"""Which embeddings of files of lower precision may be compared with those of float32.

fp16 keeps the fingerprint of the run: its embeddings differ from float32's by less than embeddings of the same image by two
processors may, and a file that differs by more is refused. An int8 file has a fingerprint of its own, made of the run's and of
its graph: its embeddings are of another network, near the first one. A gallery refuses them beside float32's, or beside
those of an int8 file that was calibrated on other images.
"""

from __future__ import annotations

import hashlib

from crossreid.inference.exporting.exported import ExportPrecision


def fingerprint_in(precision: ExportPrecision, fingerprint: str, graph: str) -> str:
    """The fingerprint of a file of this precision, from the run's own and the digest of the file's graph."""
    if precision != "int8":
        return fingerprint
    return hashlib.sha256(f"crossreid-int8-1\n{fingerprint}\n{graph}".encode()).hexdigest()
