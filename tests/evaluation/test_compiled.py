"""Compiled functions where there is no place to keep them."""

from crossreid.evaluation.compiled import compiled


def test_what_cannot_be_kept_is_compiled_all_the_same():
    room = {}
    exec(compile("def twice(x):\n    return 2 * x\n", "<nowhere>", "exec"), room)  # no file to keep a cache beside
    assert compiled()(room["twice"])(21) == 42
