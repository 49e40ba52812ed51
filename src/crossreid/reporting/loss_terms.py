"""One line on each loss term of the methods, for readers of a report who have not read the papers."""

from __future__ import annotations

from collections.abc import Iterable

TERMS = {
    "total": "the weighted sum that is minimised",
    "identity": "cross-entropy of the training identities",
    "triplet": "each image should be nearer to images of its identity than to others, by a margin",
    "ranking": "each image should be nearer to images of its identity than to others, by a margin",
    "bottleneck": "the information bottleneck: what z keeps about the identity versus what it keeps about the image",
    "vsd": "variational self-distillation: in each modality's own branch, z should predict the identities that v predicts",
    "vcd": "variational cross-distillation: in the shared branch, z of one modality should predict what v of the other predicts",
    "vml": "variational mutual learning: in the shared branch, z of both modalities should predict alike",
    "mutual": "mutual learning: the branches of the two modalities should agree",
    "knowledge": "the student's softened predictions versus the teacher's",
    "distance": "the student's distances between images versus the teacher's",
    "discrimination": "a discriminator should recognise the modality from the specific stream",
    "confusion": "the modality should not be recognisable from the shared stream",
    "purifier": "the purifier should keep what identifies from the specific stream, and drop the modality",
    "purified": "identity and triplet terms of the purified feature",
    "relation": "TGSA: the shared stream's similarities between images versus the purified specific stream's",
    "class": "CSA: the shared stream's predictions versus the purified specific stream's",
    "discrepancy": "MDR: the gap between the modalities should close",
    "slots": "the release's slots: predictions of images at the same position in the batch should agree",
}


def explained(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return name and meaning of the terms that are known here, in the order given."""
    return [(name, TERMS[name]) for name in dict.fromkeys(names) if name in TERMS]
