"""docs/scaling.md counts with what was measured, and counts right."""

import json
from pathlib import Path

import pytest

from benchmark_modules import benchmark

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {
    "searches or enrolments per second, a machine of 2 cores": 50.0, "bytes resident, a worker": 1e9,
    "bytes an entry on disk": 2000.0, "bytes an entry in memory": 1000.0, "of HNSW, times the memory": 1.5,
}  # fmt: skip


@pytest.fixture
def capacity(monkeypatch):
    with benchmark(monkeypatch, "capacity") as found:
        yield found


def test_a_plan_is_the_product_of_its_numbers(capacity):
    """By hand: 100 cameras, 36 people an hour, 10 images: 10 a second; a day: 864,000 entries."""
    found = capacity.plan(100, 36, 10, 3600 * 40, 1, KNOWN)
    assert found["images enrolled per second"] == pytest.approx(10)
    assert found["requests per second"] == pytest.approx(50)
    assert found["entries kept"] == pytest.approx(864_000)
    assert found["GB of vectors in memory, exact"] == pytest.approx(0.864)
    assert found["GB in memory, HNSW"] == pytest.approx(1.296)
    assert found["GB on disk"] == pytest.approx(1.728)
    assert found["machines of 2 cores, half busy"] == 2  # 50 of 50 a second, at half
    assert found["GB resident of their workers, one a machine"] == pytest.approx(2)
    assert found["gallery"] == "Milvus"
    assert capacity.plan(1, 36, 10, 0, 1, KNOWN)["gallery"] == "in process"
    assert capacity.plan(1, 36, 10, 0, 1e5, KNOWN)["gallery"] == "Milvus"
    with pytest.raises(ValueError, match="0 or more"):
        capacity.plan(-1, 36, 10, 0, 1, KNOWN)


def test_the_page_shows_what_its_command_prints(capacity, monkeypatch, capsys):
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert "python benchmarks/capacity.py plan\n" in page
    monkeypatch.setattr("sys.argv", ["capacity.py", "plan"])
    capacity.main()
    assert capsys.readouterr().out in page, "put into docs/scaling.md what benchmarks/capacity.py plan prints"


def test_the_constants_of_the_page_are_those_that_were_measured(capacity):
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    measured = json.loads((ROOT / "benchmarks" / "results" / "capacity_cpu.json").read_text(encoding="utf-8"))
    known = capacity.constants()
    assert f"| {known['bytes an entry on disk']:,.0f} bytes |" in page
    assert f"| {known['bytes an entry in memory']:,.0f} bytes |" in page
    assert f"| {known['bytes resident, a worker'] / 2**30:.2f} GiB |" in page
    assert f"| {known['searches or enrolments per second, a machine of 2 cores']:.0f} per second |" in page
    limits = measured["limits, microseconds a request"]
    assert f"{limits['alone']:.0f} and {limits['shared']:.0f} microseconds" in page


def test_two_workers_are_as_they_were_measured():
    page = " ".join((ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").split())
    measured = (ROOT / "benchmarks" / "results" / "service_workers_cpu.json").read_text(encoding="utf-8")
    one, two = json.loads(measured)["rows"]
    started = two["GiB of the process that was started"]
    assert f"two workers held {two['GiB after']:.2f} GiB and the process that starts them {started:.2f}" in page
    assert f"a service of one process held {one['GiB after']:.2f}." in page
    assert one["errors"] + one["wrong"] + two["errors"] + two["wrong"] == 0
    assert f"the {one['requests'] + two['requests']} answers" in page
    told = [f"{row['requests']} requests in {row['seconds']:.0f} seconds" for row in (one, two)]
    assert told[0] in page
    assert f"{two['requests']} in {two['seconds']:.0f}" in page


def test_a_gallery_and_limits_are_measured(capacity, tmp_path, monkeypatch):
    monkeypatch.setattr(
        capacity.time, "perf_counter", iter(range(100_000)).__next__
    )  # a clock whose seconds pass at once
    found = capacity.of_gallery(str(tmp_path / "gallery"), 300)
    assert found["entries"] == 300
    assert found["bytes an entry"] > 4 * capacity.DIMENSION
    assert set(capacity.of_limits(tmp_path)) == {"alone", "shared"}
