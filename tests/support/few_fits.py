"""Probes, maps and estimates that are few and take few steps, for tests that only have to see them asked for and drawn.

What they find is tested where they are: tests/analysis/test_probes.py, tests/reporting/test_embedding_map.py and
tests/studies/test_estimators.py fit them as users do.
"""

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


def one_stream(monkeypatch):
    """Of the streams of a network with branches the first is probed."""
    from crossreid.analysis import factors_of_runs

    observe = factors_of_runs.observe
    monkeypatch.setattr(
        factors_of_runs, "observe", lambda *given, **more: dict(itertools.islice(observe(*given, **more).items(), 1))
    )


def quick_maps(monkeypatch):
    """t-SNE of 25 iterations, a fortieth; scikit-learn itself takes no fewer than 250."""
    from crossreid.reporting import embedding_map

    tsne = embedding_map.TSNE

    def quick(**options):
        made = tsne(**options, max_iter=25)
        made._EXPLORATION_MAX_ITER = 25
        made._parameter_constraints = {
            key: allowed for key, allowed in tsne._parameter_constraints.items() if key != "max_iter"
        }
        return made

    monkeypatch.setattr(embedding_map, "TSNE", quick)


def quick_estimates(monkeypatch):
    """Estimates of two true values of mutual information, averaged over two batches."""
    from crossreid.studies import estimators

    monkeypatch.setitem(estimators.estimate.__kwdefaults__, "tests", 2)
    monkeypatch.setitem(estimators.run_estimators.__kwdefaults__, "values", estimators.VALUES[:2])


def quick_layouts(monkeypatch):
    """Figures without a search for room for their labels."""
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    from crossreid.reporting import drawing

    class NoLayout(PlaceHolderLayoutEngine):
        def set(self, **pads):
            """Takes what a layout would be asked for."""

    figure = drawing.Figure
    monkeypatch.setattr(drawing, "Figure", lambda **options: figure(**options | {"layout": NoLayout(True, True)}))


def quick_drawings(monkeypatch):
    """Figures as SVG alone, and quick layouts; tests/reporting/test_plotting.py saves both files."""
    from crossreid.reporting import drawing

    quick_layouts(monkeypatch)
    monkeypatch.setattr(drawing, "_FILES", drawing._FILES[:1])
