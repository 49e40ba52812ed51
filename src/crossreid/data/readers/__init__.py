"""Readers: one file a data set, with all that is known of it (counts, protocol, terms, citation) beside the function.

Each registers itself in `crossreid.data.catalogue`, which imports them when it is first asked. Several share
`lists`, the text of a list, and `holdout`, training identities set aside for validation where a data set names none.
"""
