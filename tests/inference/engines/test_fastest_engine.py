import shutil

import pytest

import crossreid
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.inference import fastest_engine as fastest
from small_model import recipe_of, write_run
from tiny_backbone import TINY_NETWORK, WITHOUT_NON_LOCAL
from tiny_backbone import tiny_backbone_of_module as tiny_backbone_of_module
from typed_commands import ran


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_backbone_of_module):
    """A world, and a run of which there is an ONNX file beside one for OpenVINO that is of other weights."""
    place = tmp_path_factory.mktemp("fastest")
    synthesise(place / "world", "manifest", 4, 5, images_per_camera=1, size=(96, 48), workers=1)
    write_run(place / "run", recipe_of("baseline", network=TINY_NETWORK))
    write_run(place / "other", recipe_of("agw", network=WITHOUT_NON_LOCAL))
    ran("export", place / "run", "--to", "onnx")
    ran("export", place / "other", "--to", "openvino")
    for suffix in (".xml", ".bin"):
        shutil.copy(place / "other" / f"model{suffix}", place / "run" / f"model{suffix}")
    return place


def timed(monkeypatch, **seconds):
    """The models are opened and compared; how fast they are is given."""
    monkeypatch.setattr(fastest, "_seconds", lambda models, *_: {engine: seconds[engine] for engine in models})


@pytest.mark.parametrize(("onnx", "chosen"), [(0.5, "onnx"), (0.95, "torch"), (2.0, "torch")])
def test_another_engine_has_to_gain_a_tenth(onnx, chosen, place, monkeypatch):
    timed(monkeypatch, torch=1.0, onnx=onnx)
    engine, why = fastest.fastest_engine(place / "run", device="cpu", batch=4)
    assert engine == chosen
    assert why.startswith(f"times torch's speed: onnx {1 / onnx:.2f}; openvino skipped: ")
    assert "is not from the run's current best checkpoint" in why


def test_what_embeds_otherwise_is_left_out_however_fast(place, monkeypatch):
    timed(monkeypatch, torch=1.0, onnx=0.1)
    monkeypatch.setattr(fastest, "EQUAL", 0.0)
    engine, why = fastest.fastest_engine(place / "run", device="cpu", batch=4)
    assert engine == "torch"
    assert why.startswith("onnx left out: its embeddings differ from torch's by ") or "openvino skipped" in why
    assert "times torch" not in why


def test_all_are_really_measured(place):
    engine, why = fastest.fastest_engine(place / "run", device="cpu", batch=2)
    assert engine in ("torch", "onnx")
    assert why.startswith("times torch's speed: onnx ")


def test_a_run_without_files_has_torch(place):
    write_run(place / "alone", recipe_of("baseline", network=TINY_NETWORK))
    assert fastest.fastest_engine(place / "alone", device="cpu") == ("torch", "there is no other file of this run")
    with pytest.raises(CrossreidError, match=r"model\.onnx is no run\. Leave it out"):
        fastest.fastest_engine(place / "run" / "model.onnx")


def test_a_job_keeps_to_the_engine_that_was_fastest_when_it_began(place, tmp_path, monkeypatch):
    said = []
    job = {"precision": "float32", "device": "cpu", "engine": "fastest", "say": said.append}
    timed(monkeypatch, torch=1.0, onnx=0.5)
    crossreid.embed(place / "run", place / "world", tmp_path / "out", **job)
    assert any(line.startswith("engine: onnx (times torch's speed: onnx 2.00") for line in said)
    assert fastest.engine_of_job(tmp_path / "out") == "onnx"
    timed(monkeypatch, torch=1.0, onnx=5.0)
    assert crossreid.embed(place / "run", place / "world", tmp_path / "out", **job).before > 0
    assert fastest.engine_of_job(tmp_path / "nothing") is None


def test_serving_by_several_workers_refuses_to_measure():
    from crossreid.service.endpoint import Endpoint
    from crossreid.service.startup import Serving
    from crossreid.service.workers import serve_by_workers

    serving = Serving(
        "run", "http://localhost:1", Endpoint("127.0.0.1", 0, None, None, None), None, None, True, engine="fastest"
    )
    with pytest.raises(CrossreidError, match="the workers' measurements would disturb each other"):
        serve_by_workers(serving, 2)
