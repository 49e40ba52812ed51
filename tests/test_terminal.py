import io
import re

import pytest
from rich.console import Console

from crossreid.terminal import FigureTable, advancing, printable, progress_bar, tracked


@pytest.mark.parametrize(("text", "expected"), [("a [b] :c:", "a [b] :c:"), ("a\nb\x1b[1m", r"a\nb\x1b[1m")])
def test_what_a_terminal_would_act_upon_is_escaped(text, expected):
    assert printable(text) == expected


def test_a_bar_is_drawn_on_standard_error_with_its_count_and_its_note(capsys):
    with progress_bar() as progress:
        advance = advancing(progress, "epoch [1/2]", 8, completed=5)
        advance(1, note="identity 0.5")
    out, err = capsys.readouterr()
    assert not out
    assert "epoch [1/2]" in err
    assert "6/8" in err
    assert "identity 0.5" in err


def test_a_long_note_is_cut_and_takes_no_second_line(capsys):
    with progress_bar() as progress:
        advancing(progress, "epoch 1/2", 8)(8, note="identity 5.707 ranking 3.894 " * 5)
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    assert "8/8" in err
    assert set(re.findall(r"\d+\.\d*", err)) <= {"5.707", "3.894"}, "no figure is cut within"
    assert "…" not in err


def test_a_bar_of_unknown_length_begins_with_the_first_step(capsys):
    with progress_bar() as progress:
        advance = advancing(progress, "images")
        assert not progress.tasks
        advance(3, 10)
        advance(2)
        advance(1, 12)
    assert "6/12" in capsys.readouterr().err


def test_results_are_counted_as_they_are_taken(capsys):
    assert list(tracked(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    err = capsys.readouterr().err
    assert "letters" in err
    assert "3/3" in err


def test_nothing_is_drawn_where_it_is_not_shown(capsys):
    assert list(tracked("abc", "letters", 3, shown=False)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("width", [30, 50, 80])
def test_a_table_of_figures_cuts_none(width):
    table = FigureTable("title", ["", *(f"figure number {n}" for n in range(9))])
    for row in range(3):
        table.add_row(f"a rather long name {row}", *(f"-{row}{n}.6±1.4" for n in range(9)))
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    shown = stream.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    assert all(f"-{row}{n}.6±1.4" in shown for row in range(3) for n in range(9))
    assert shown.count("title") == 1


def test_a_figure_wider_than_the_terminal_is_folded_and_not_cut():
    table = FigureTable("", ["", "x"])
    table.add_row("n", "123456789012345678901234567890")
    stream = io.StringIO()
    Console(file=stream, width=20).print(table)
    assert "".join(re.findall(r"\d", stream.getvalue())) == "1234567890" * 3
