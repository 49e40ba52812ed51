"""`crossreid recipes`: listed, shown and copied, never over a file that is there; and taken by name by every command."""

import pytest

from crossreid.cli.app import main
from crossreid.runs.shipped import SHIPPED, shipped_names


def ended(*arguments):
    """The status that the command ends with."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def test_list_gives_a_program_columns(capsys):
    assert ended("recipes", "list") == 0
    heading, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert heading == ["name", "data", "method", "setting", "about"]
    assert [row[0] for row in rows] == shipped_names()
    assert ["vd_llcm", "llcm", "variational_distillation", "crossreid"] in [row[:4] for row in rows]


def test_list_takes_a_data_set_and_a_method(capsys):
    assert ended("recipes", "list", "--data", "mars", "--method", "view_distillation") == 0
    assert {line.split("\t")[1] for line in capsys.readouterr().out.splitlines()[1:]} == {"mars"}
    assert ended("recipes", "list", "--method", "vd") == 2
    assert "Expected one of " in capsys.readouterr().err


def test_show_prints_the_file_with_its_comments(capsys):
    assert ended("recipes", "show", "vd_llcm") == 0
    assert capsys.readouterr().out == (SHIPPED / "vd_llcm.yaml").read_text(encoding="utf-8")
    assert ended("recipes", "show", "vd_lcm") == 2
    assert capsys.readouterr().err.startswith("crossreid: no recipe 'vd_lcm' comes with crossreid. Nearest: vd_llcm, ")


def test_copy_never_overwrites_unless_told_to(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ended("recipes", "copy", "vd_llcm") == 0
    assert capsys.readouterr().out == "recipe: vd_llcm.yaml\n"
    wanted = (SHIPPED / "vd_llcm.yaml").read_bytes()
    assert (tmp_path / "vd_llcm.yaml").read_bytes() == wanted
    (tmp_path / "vd_llcm.yaml").write_text("mine")
    assert ended("recipes", "copy", "vd_llcm.yaml") == 2
    assert "vd_llcm.yaml exists already. " in capsys.readouterr().err
    assert (tmp_path / "vd_llcm.yaml").read_text() == "mine"
    assert ended("recipes", "copy", "vd_llcm", "--force") == 0
    assert (tmp_path / "vd_llcm.yaml").read_bytes() == wanted
    (tmp_path / "folder").mkdir()
    assert ended("recipes", "copy", "vd_llcm", "folder") == 0
    assert ended("recipes", "copy", "vd_llcm", "new/mine.yaml") == 0
    assert (
        (tmp_path / "folder" / "vd_llcm.yaml").read_bytes() == (tmp_path / "new" / "mine.yaml").read_bytes() == wanted
    )


@pytest.mark.parametrize(
    "command",
    [
        ["train", "vd_synthetc"],
        ["recipe", "vd_synthetc"],
        ["check", "--recipe", "vd_synthetc"],
        ["ablate", "vd", "vd_synthetc"],
        ["ablate", "recipes", "vd_synthetic", "vd_synthetc"],
        ["ablate", "left-out", "vd_synthetc"],
    ],
    ids=lambda command: " ".join(command[:-1]),
)
def test_every_command_that_takes_a_recipe_looks_for_its_name(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ended(*command) == 2
    message = capsys.readouterr().err
    assert message.startswith("crossreid: recipe vd_synthetc not found. ")
    assert "Nearest: vd_synthetic, " in message
    assert len(message.splitlines()) == 1
    assert not list(tmp_path.iterdir())
