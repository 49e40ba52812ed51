"""docs/networks.md is what benchmarks/networks.py makes of its results, and the figures can be measured here."""

import json
from pathlib import Path

import pytest
import timm

from benchmark_modules import benchmark

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def networks(monkeypatch):
    with benchmark(monkeypatch, "networks") as found:
        yield found


def test_the_page_is_that_of_the_results(networks):
    results = json.loads(networks.RESULTS.read_text(encoding="utf-8"))
    assert networks.page(results) == networks.PAGE.read_text(encoding="utf-8"), (
        "docs/networks.md is out of date: python benchmarks/networks.py --write"
    )


def test_a_network_is_measured(networks, monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "test_resnet", networks.Choice("tests", "none", (64, 32)))
    found = networks.measure("test_resnet", rounds=1)
    assert found["dimension"] == 96
    assert found["size"] == [64, 32]
    assert found["images_per_second"] > 0
    whole = timm.create_model("test_resnet", num_classes=0)
    assert found["parameters"] == sum(parameter.numel() for parameter in whole.parameters())
