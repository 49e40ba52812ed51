"""Reporting: what people look at, made from numbers that are there; nothing here trains or computes a score of its own.

The page of runs: `report` gathers, `html` writes, with its parts `score_table`, `curves`, `ranked_lists` and
`embedding_map`. Figures as files: `plotting` of what `crossreid plot` is given, `study_plot`, `views_plot`, all in the
style of `drawing`. Tables for a terminal: `study_table`, `views_table`, `probe_table`.
"""
