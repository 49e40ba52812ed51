"""Several scores of the same pairs made one, by what each is worth.

`calibrated` is the fusion: each score made a probability, and these averaged. `aligning` brings embeddings of the same
images together, `local_matching` and the matchers beside it compare images by their local features, `rankings` makes all
of it distances for the protocols, and `fuse` does the whole on files.
"""
