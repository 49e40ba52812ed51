"""What stands in for torch's compiler while timm is imported, against the compiler itself."""

import sys

import torch

from crossreid.models.first_import_of_timm import compiler_left_out

UTILS = "torch._dynamo.utils"


def stand_ins(monkeypatch):
    """`torch.compiler.disable` and `torch._dynamo.utils` as an import sees them before the compiler's own first one."""
    import torch._dynamo.utils

    disable = torch.compiler.disable
    with monkeypatch.context() as before:
        before.delitem(sys.modules, "torch._dynamo")
        before.delitem(sys.modules, UTILS)
        with compiler_left_out():
            found = torch.compiler.disable, sys.modules[UTILS]
        assert UTILS not in sys.modules
    assert torch.compiler.disable is disable
    assert found[0] is not disable
    assert found[1] is not sys.modules[UTILS]
    return found


def test_what_is_not_to_be_compiled_is_not_and_gives_the_same(monkeypatch):
    disable, _ = stand_ins(monkeypatch)
    disabled, images, graphs = disable(lambda x: x + 1), torch.arange(2.0), []
    assert disabled(images).tolist() == disable(recursive=True)(lambda x: x + 1)(images).tolist() == [1, 2]

    def watched(graph, _):
        graphs.append(graph)
        return graph.forward

    assert torch.compile(lambda x: disabled(x * 2) * 3, backend=watched)(images).tolist() == [3, 9]
    assert len(graphs) == 2  # before it, and after it


def test_which_devices_compile_and_any_other_name_are_the_compilers_own(monkeypatch):
    _, utils = stand_ins(monkeypatch)
    real = sys.modules[UTILS]
    assert [utils.is_compile_supported(name) for name in ("cpu", "meta")] == [
        real.is_compile_supported(name) for name in ("cpu", "meta")
    ]
    assert utils.counters is real.counters


def test_where_the_compiler_is_there_already_nothing_stands_in_for_it():
    import torch._dynamo

    disable, utils = torch.compiler.disable, sys.modules[UTILS]
    with compiler_left_out():
        assert torch.compiler.disable is disable
        assert sys.modules[UTILS] is utils
