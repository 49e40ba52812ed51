"""What `import crossreid` offers: every public name is there, is listed, and has one home."""

import ast
from pathlib import Path

import pytest

import crossreid

PACKAGE = Path(crossreid.__file__).parent


def typed_names():
    """The names of the block that only type checkers read, each with the module it comes from."""
    (block,) = (
        node
        for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.If)
    )
    return {
        name.asname: (node.module, name.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }


def test_every_name_is_there():
    for name in crossreid.__all__:
        assert getattr(crossreid, name) is not None


def test_what_type_checkers_see_is_what_is_imported():
    """The typed block, the lazy table and `__all__` say the same."""
    typed = typed_names()
    assert set(crossreid.__all__) == {*typed, "__version__"}
    for name, (module, own) in typed.items():
        found = getattr(crossreid, name)
        home, _, attribute = crossreid._HOMES[name].partition(":")
        assert (f"crossreid.{home}", attribute or name) == (module, own)
        if hasattr(found, "__module__") and callable(found):
            assert found.__module__ == module, name  # its own home, not a place that imports it too


def test_editors_complete_them():
    assert set(crossreid.__all__) <= set(dir(crossreid))
    assert (PACKAGE / "py.typed").is_file()


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no public name 'nonsense'"):
        _ = crossreid.nonsense
