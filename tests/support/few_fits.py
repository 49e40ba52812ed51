"""Probes, maps and estimates that take few steps, for tests that only have to see them asked for and drawn.

What they find is tested where they are: tests/analysis/test_probes.py, tests/reporting/test_embedding_map.py and
tests/studies/test_estimators.py fit them as users do.
"""

import functools
import itertools


def quick_probes(monkeypatch):
    """One strength of regularisation in place of several to choose from; MLPs of two epochs; one name of each group of factors."""
    from crossreid.analysis import probes

    names_of = probes.names_of
    monkeypatch.setattr(probes, "names_of", lambda *given: dict(itertools.islice(names_of(*given).items(), 1)))
    monkeypatch.setattr(probes, "_EPOCHS", 2)
    monkeypatch.setattr(probes, "_RIDGE", (1e2,))
    monkeypatch.setattr(probes, "_DECAY", probes._DECAY[:1])
    monkeypatch.setitem(probes.classify.__kwdefaults__, "strengths", (1e-3,))


def quick_maps(monkeypatch):
    """t-SNE of a quarter of the iterations, the fewest that it takes."""
    from crossreid.reporting import embedding_map

    monkeypatch.setattr(embedding_map, "TSNE", functools.partial(embedding_map.TSNE, max_iter=250))


def quick_estimates(monkeypatch):
    """Estimates of mutual information averaged over two batches."""
    from crossreid.studies import estimators

    monkeypatch.setitem(estimators.estimate.__kwdefaults__, "tests", 2)


def quick_drawings(monkeypatch):
    """Figures as SVG alone; tests/reporting/test_plotting.py saves both files."""
    from crossreid.reporting import drawing

    monkeypatch.setattr(drawing, "_FILES", drawing._FILES[:1])
