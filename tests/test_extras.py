"""What is missing is named by the extra that brings it: the table is that of pyproject.toml, and so are the words."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from crossreid.extras import LIBRARIES, MissingExtra, missing_extra, modules_of, needed, require
from forked import Forked, forget_modules, text_of

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def packages_of(requirements):
    return {re.match(r"[\w-]+", text)[0] for text in requirements}


def test_every_library_is_in_the_extra_that_is_named_and_not_mandatory():
    extras = {name: packages_of(given) for name, given in PROJECT["optional-dependencies"].items()}
    for module, (package, extra) in LIBRARIES.items():
        assert package in extras[extra], module
        assert package not in packages_of(PROJECT["dependencies"]), module


def test_what_an_extra_brings_for_itself_is_in_the_table():
    told = {package for package, _ in LIBRARIES.values()}
    elsewhere = {"simplejpeg", "protobuf", "crossreid"}  # Pillow stands in for the first; MindSpore's and our own
    for name in {*PROJECT["optional-dependencies"]} - {"all", "dev", "mindspore-dev"}:
        assert packages_of(PROJECT["optional-dependencies"][name]) <= told | elsewhere, name


def test_all_is_every_extra_that_goes_together():
    every = {*PROJECT["optional-dependencies"]} - {"all", "dev", "mindspore", "mindspore-dev"}
    (all_of,) = PROJECT["optional-dependencies"]["all"]
    assert set(all_of.removeprefix("crossreid[").removesuffix("]").split(",")) == every


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho", None)
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtra) as refused:
        needed("paho.mqtt.client", "MQTT")
    assert str(refused.value) == "MQTT needs paho-mqtt, which is not installed: pip install 'crossreid[video]'."
    assert isinstance(refused.value, ImportError)


def test_one_that_is_there_and_broken_says_why(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1:\\n no such file')")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match=r"cannot be imported \(libgomp\.so\.1: no such file\): pip install"):
        needed("onnxruntime", "model.onnx")


def test_several_that_are_missing_are_one_line(monkeypatch):
    for module in ("faiss", "matplotlib", "sklearn"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra) as refused:
        require("the demo", *modules_of("search"), *modules_of("analysis"))
    assert str(refused.value) == (
        "the demo needs faiss-cpu, matplotlib and scikit-learn, which are not installed: "
        "pip install 'crossreid[search,analysis]'."
    )
    require("nothing of the kind", "pydantic", "yaml")


def test_other_errors_are_none_of_it():
    assert missing_extra(ValueError("no")) is None
    assert missing_extra(ModuleNotFoundError("No module named 'numpy'", name="numpy")) is None
    assert missing_extra(ModuleNotFoundError("No module named 'crossreid.x'", name="crossreid.x")) is None


BLOCKED = """
import sys
sys.modules[sys.argv.pop(1)] = None
from crossreid.cli import main
main()
"""


def test_a_command_whose_modules_import_it_at_the_top_ends_in_the_same_words(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, "pyarrow", "gallery", "add", "seen", "embeddings"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert_named(done.stderr, "crossreid: this command needs pyarrow, which is not installed")
    assert done.returncode == 2


def test_a_function_whose_modules_import_it_at_the_top_ends_in_the_same_words(tmp_path):
    log = tmp_path / "log"
    assert Forked(report_without_matplotlib, log=log).wait() == 1
    assert_named(text_of(log), "crossreid.report needs matplotlib, which is not installed")


def report_without_matplotlib():
    forget_modules("crossreid", "matplotlib")
    sys.modules["matplotlib"] = None
    import crossreid

    crossreid.report  # noqa: B018


def assert_named(said, words):
    last = said.splitlines()[-1]
    assert words in last
    assert re.search(r"pip install 'crossreid\[\w+\]'\.$", last)
