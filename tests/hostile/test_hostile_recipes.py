"""Recipes, and values of `--set`, that are small and stand for much or for nothing: each is a line within a second."""

import time

import pytest

from crossreid.cli.app import main
from hostile_texts import HOSTILE_YAML

SMALLEST = "data: {name: manifest, root: images}\nmethod: {name: baseline}\n"


def ended(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


@pytest.fixture(autouse=True)
def within_seconds():
    """Ten times what the slowest takes, so that a slow machine is no failure and a bomb is one."""
    begun = time.perf_counter()
    yield
    assert time.perf_counter() - begun < 20


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML)
def test_as_a_recipe(text, tmp_path, capsys):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert ended("recipe", file) == 2
    shown = capsys.readouterr().err
    assert "x.yaml" in shown
    assert "Traceback" not in shown
    assert len(shown) < 4_000


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML)
def test_as_a_value(text, tmp_path, capsys):
    file = tmp_path / "x.yaml"
    file.write_text(SMALLEST)
    ended("recipe", file, "--set", f"data.root={text}")
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert len(shown) < 4_000


def test_a_key_of_many_sections(tmp_path, capsys):
    file = tmp_path / "x.yaml"
    file.write_text(SMALLEST)
    assert ended("recipe", file, "--set", f"data.options.{'a.' * 5_000}b=1") == 2
    assert "expected a key of at most 50 sections" in capsys.readouterr().err
