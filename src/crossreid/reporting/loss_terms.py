"""What the terms of the methods' losses are, in a line each, for readers of a page who have not read the papers."""

from __future__ import annotations

from collections.abc import Iterable

TERMS = {
    "total": "the weighted sum that is minimised",
    "identity": "cross-entropy of the training identities",
    "triplet": "each image is to be nearer to its identity's than to others', by a margin",
    "ranking": "each image is to be nearer to its identity's than to others', by a margin",
    "bottleneck": "the information bottleneck: what z keeps of the identity against what it keeps of the image",
    "vsd": "variational self-distillation: in each modality's own branch, z is to predict the identities that v predicts",
    "vcd": "variational cross-distillation: in the shared branch, z of one modality is to predict what v of the other does",
    "vml": "variational mutual learning: in the shared branch, z of both modalities are to predict alike",
    "mutual": "mutual learning: the two modalities' own branches are to agree",
    "knowledge": "the student's softened predictions against the teacher's",
    "distance": "the student's distances between images against the teacher's",
    "discrimination": "a discriminator is to tell the modality of the specific stream",
    "confusion": "no modality is to be told from the shared stream",
    "purifier": "the purifier is to keep of the specific stream what identifies, and to leave its modality",
    "purified": "identity and triplet terms of the purified feature",
    "relation": "TGSA: the shared stream's similarities between images against the purified specific stream's",
    "class": "CSA: the shared stream's predictions against the purified specific stream's",
    "discrepancy": "MDR: the gap between the modalities is to close",
    "slots": "the release's slots: predictions of images at the same position of the batch are to agree",
}


def explained(names: Iterable[str]) -> list[tuple[str, str]]:
    """Of the terms that are known here, name and meaning, in the order given."""
    return [(name, TERMS[name]) for name in dict.fromkeys(names) if name in TERMS]
