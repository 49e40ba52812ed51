"""Evaluation: embeddings or distances in, scores by a published protocol out; no training.

`embedding` and `sets` go from images and networks to `features`; `arrays`, `matlab` and `external` read files of other
tools. `protocols` is the table of protocols, and `procedure` carries them out: `sides`, `draws`, `distances`,
`reranking`, `ranking` with its `exclusion`, and what is read off a ranking, `measures`, `open_set` and `scores`.
`published` holds the figures of papers.
"""
