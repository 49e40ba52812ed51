"""Evaluation: embeddings or distances in, scores by a published protocol out; nothing here trains.

From images and networks to `features` (`embedding`, `sets`), from files of other tools (`arrays`, `matlab`, `external`).
`protocols` is the table of protocols, `procedure` carries them out: `sides`, `draws`, `distances`, `reranking`,
`ranking` with its `exclusion`, and what is read off a ranking, `measures`, `open_set` and `scores`. `published` holds
the figures of papers.
"""
