"""Marks that people set on matches, as the page of the service exports them, to a manifest that a model is trained on.

`exported` reads the marks, `image_files` finds the images they name, `joining` says which are of one identity, and
`training_manifest` writes that down.
"""

from crossreid.galleries.marks.exported import FIELDS, Mark, read_marks
from crossreid.galleries.marks.training_manifest import Joined, write_manifest

__all__ = ["FIELDS", "Joined", "Mark", "read_marks", "write_manifest"]
