"""The registry of methods: what is in it, what a registration must be, and that methods do not import each other."""

import subprocess
import sys
from fnmatch import fnmatch
from typing import Literal

import pytest
import yaml
from pydantic import Field

from crossreid.methods import METHODS, Method, MethodOptions, build_method, register_method
from crossreid.options import PublishedSettingOptions, SettingOptions
from crossreid.registry import PluginError
from crossreid.runs.shipped import SHIPPED


def test_every_method_is_registered_with_its_title_and_options():
    assert {name: method.title for name, method in METHODS.items()} == {
        "agw": "AGW",
        "baseline": "Identity + triplet",
        "implicit_knowledge": "Implicit discriminative knowledge (IDKL)",
        "information_bottleneck": "Information bottleneck",
        "strong_baseline": "Strong cross-modal baseline",
        "transreid": "TransReID",
        "variational_distillation": "Variational distillation",
        "variational_information_bottleneck": "Variational information bottleneck",
        "view_distillation": "Views knowledge distillation",
    }
    for name, method in METHODS.items():
        assert method.options.model_fields["name"].default == method.name == name
        assert issubclass(method.owner, Method)


def test_every_recipe_is_one_of_its_methods():
    for path in SHIPPED.glob("*.yaml"):
        name = yaml.safe_load(path.read_text(encoding="utf-8"))["method"]["name"]
        assert fnmatch(path.name, METHODS[name].recipes), path.name


def test_importing_a_method_imports_no_other():
    code = (
        "import sys, crossreid.methods.agw\n"
        "print([name for name in sys.modules if name.startswith('crossreid.methods.')])\n"
        "from crossreid.methods import METHODS\n"
        "print(list(METHODS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    imported, known = (eval(line) for line in done.stdout.splitlines())
    assert set(imported) == {f"crossreid.methods.{name}" for name in ("agw", "building", "method")}
    assert known == list(METHODS)


def test_options_and_registration_agree_about_the_name():
    class Other(MethodOptions):
        name: Literal["other"] = Field("other", description="Another.")

    with pytest.raises(PluginError, match="has the default 'other'"):
        register_method("one", options=Other)


def test_a_name_is_taken_once(monkeypatch):
    METHODS.load()
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    with pytest.raises(PluginError, match=r"already registered by crossreid.methods.agw"):
        register_method("agw", options=METHODS["agw"].options)(type("Mine", (METHODS["agw"].owner,), {}))


def test_an_unknown_method_is_named():
    class Unknown(MethodOptions):
        name: str = "agv"

    with pytest.raises(ValueError, match=r"method 'agv' is unknown. Did you mean 'agw'"):
        build_method(Unknown(), 3)


def test_settings_are_the_classs_own():
    class Mine(MethodOptions, SettingOptions):
        settings = {"slow": {"rate": 1}, "fast": {"rate": 9}}  # noqa: RUF012
        setting: Literal["slow", "fast"] = "slow"
        name: str = "mine"
        rate: int = 0

    assert [Mine().rate, Mine(setting="fast").rate, Mine(setting="fast", rate=3).rate] == [1, 9, 3]
    with pytest.raises(ValueError, match="'slow' or 'fast'"):
        Mine(setting="paper")
    assert issubclass(METHODS["agw"].options, PublishedSettingOptions)
