"""The command as a whole: help, version, plugins, and whose fault an error is."""

import subprocess
import sys

import pytest

import crossreid
from crossreid.cli.app import main
from crossreid.errors import CrossreidError


def ended(*arguments):
    """The status that the command ends with."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def test_bare_it_explains_itself(capsys):
    assert ended() == 0
    shown = capsys.readouterr()
    assert "Commands:" in shown.out
    assert "CROSSREID_DEBUG=1" in " ".join(shown.out.split())
    assert shown.err == ""


@pytest.mark.parametrize("group", ["ablate", "views", "gallery", "keys"])
def test_so_does_every_group_of_commands(group, capsys):
    assert ended(group) == 0
    shown = capsys.readouterr()
    assert "Commands:" in shown.out
    assert shown.err == ""


def test_version(capsys):
    assert ended("--version") == 0
    assert capsys.readouterr().out == f"crossreid {crossreid.__version__}\n"


def test_a_command_that_is_not_there(capsys):
    assert ended("trian") == 2
    assert "No such command 'trian'" in capsys.readouterr().err


def test_what_a_user_got_wrong_is_one_line_and_status_two(capsys, tmp_path):
    assert ended("recipe", str(tmp_path / "none.yaml")) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("crossreid: recipe ")
    assert "Traceback" not in shown


@pytest.mark.parametrize("bug", [ValueError("operands could not be broadcast"), KeyError("x"), TypeError("y")])
def test_a_bug_keeps_its_traceback(bug, monkeypatch, capsys, tmp_path):
    """A library's ValueError is not shown as if the user had done something wrong."""
    import crossreid.runs.recipe

    def broken(*_given):
        raise bug

    monkeypatch.setattr(crossreid.runs.recipe, "load_recipe", broken)
    with pytest.raises(type(bug)):
        main(["recipe", str(tmp_path / "any.yaml")])
    assert "a bug in the program" in capsys.readouterr().err


def test_with_debugging_every_error_keeps_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSREID_DEBUG", "1")
    with pytest.raises(CrossreidError, match="not found"):
        main(["recipe", str(tmp_path / "none.yaml")])


def test_a_plugin_is_imported_before_the_command(monkeypatch, tmp_path, capsys):
    (tmp_path / "plugged.py").write_text("print('plugged in')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CROSSREID_PLUGINS", "")
    assert ended("--plugin", "plugged", "recipe", "none.yaml") == 2
    assert "plugged in" in capsys.readouterr().out
    assert ended("--plugin", "unplugged", "recipe", "--keys") == 2
    assert "plugin 'unplugged'" in capsys.readouterr().err


def test_help_and_the_package_import_no_heavy_library():
    """The command answers before anything that takes seconds to import is needed."""
    script = (
        "import sys, crossreid, crossreid.cli; "
        "print(sorted({'numpy', 'torch', 'timm', 'faiss', 'matplotlib', 'scipy', 'sklearn', 'pydantic'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
