"""Drafts of manifests: what a folder, a public layout, annotations or a table say about images, and guesses for the
rest.

`draft` makes one and writes nothing; `write` writes it. Each kind of source has a file: `folders`, `annotations` (COCO,
YOLO), `tables`; `guesses` fills in cameras, modality and time if the source does not give them.
"""

from crossreid.data.drafts.draft import KINDS, Draft, draft, write

__all__ = ["KINDS", "Draft", "draft", "write"]
