"""From people's marks on matches, as exported by the service's page, to a manifest for training.

`exported` reads the marks, `image_files` finds the images they name, `joining` groups images of one identity, and
`training_manifest` writes the manifest.
"""

from crossreid.galleries.marks.exported import FIELDS, Mark, read_marks
from crossreid.galleries.marks.training_manifest import Joined, write_manifest

__all__ = ["FIELDS", "Joined", "Mark", "read_marks", "write_manifest"]
