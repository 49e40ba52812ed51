import pytest

from crossreid.terminal import advancing, printable, progress_bar, tracked


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
