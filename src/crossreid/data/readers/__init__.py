"""Readers: one file per data set, with its description (counts, protocol, terms, citation) beside the function.

Each registers itself in `crossreid.data.catalogue`, which imports them on first use. Several share `lists`, the text of
a list, and `holdout`, which sets training identities aside for validation if a data set names none.
"""
