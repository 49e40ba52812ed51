"""Reporting: tables, figures and pages made from existing numbers; nothing here trains or computes scores.

The report page: `report` gathers its content, `html` writes it, with its parts `score_table`, `curves`, `ranked_lists`
    and `embedding_map`. Figures as files: `plotting` for the input of `crossreid plot`, `study_plot`, `views_plot`, all
    in the style of `drawing`. Tables for a terminal: `study_table`, `views_table`, `probe_table`.
"""
