"""timm comes without torch's compiler, which works when it is asked for all the same: one that is there already stays.

In a process that has neither, both are looked at by tests/cli/test_what_is_loaded.py.
"""

import sys

from forked import Forked, forget_modules, text_of


def import_anew():
    """Our own modules, in a process that has timm, with torch's compiler, already."""
    import timm  # noqa: F401
    import torch._dynamo.utils

    found = sys.modules["torch._dynamo.utils"]
    forget_modules("crossreid")
    import crossreid.models.backbones  # noqa: F401

    assert sys.modules["torch._dynamo.utils"] is found
    assert torch._dynamo.utils.is_compile_supported("cpu")


def test_one_that_is_imported_already_is_left_as_it_is(tmp_path):
    assert Forked(import_anew, log=tmp_path / "log").wait() == 0, text_of(tmp_path / "log")
