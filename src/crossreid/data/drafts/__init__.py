"""Drafts of manifests: what a folder, a public layout, annotations or a table say of images, and what can be guessed of the rest.

`draft` makes one and writes nothing; `write` writes it. Each source is a file: `folders`, `annotations` (COCO, YOLO), `tables`;
`guesses` fills in cameras, modality and time where the source does not say them.
"""

from crossreid.data.drafts.draft import KINDS, Draft, draft, write

__all__ = ["KINDS", "Draft", "draft", "write"]
