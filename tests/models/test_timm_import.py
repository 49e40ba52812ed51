"""timm comes without torch's compiler, which works when it is asked for all the same."""

import subprocess
import sys
import textwrap

import pytest

from forked import Forked, text_of


def said_by(code):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_what_opens_and_scores_runs_imports_no_compiler_and_what_was_put_off_is_there_when_it_is_asked_for():
    """Slow: it imports the compiler. A compiled network, torchvision's operator, a method that timm keeps from compiling."""
    assert said_by(
        """
        import sys, torch
        disable = torch.compiler.disable
        import crossreid.models.backbones
        assert torch.compiler.disable is disable
        import crossreid
        for name in ("open_model", "evaluate", "embed"):
            getattr(crossreid, name)
        print(*(name for name in ("timm", "torchvision", "torch._dynamo", "sympy", "scipy.io") if name in sys.modules))

        import timm
        from timm.models.naflexvit import NaFlexRopeIterator
        from torchvision.ops import roi_align

        network = timm.create_model("test_resnet", num_classes=3).eval()
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            assert torch.allclose(torch.compile(network, backend="eager")(images), network(images), atol=1e-5)
        print(*roi_align(images, [torch.tensor([[0.0, 0.0, 8.0, 8.0]])] * 2, output_size=2).shape)

        import torch._dynamo.utils
        print(torch._dynamo.utils.is_compile_supported("cpu"), hasattr(torch._dynamo.utils, "counters"))
        print(NaFlexRopeIterator.__next__.__name__)
        """
    ) == ["timm", "torchvision", "2", "3", "2", "2", "True", "True", "__next__"]


def import_anew():
    """Our own modules, in a process that has timm, with torch's compiler, already."""
    import timm  # noqa: F401
    import torch._dynamo.utils

    found = sys.modules["torch._dynamo.utils"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "crossreid"]:
        del sys.modules[name]
    import crossreid.models.backbones  # noqa: F401

    assert sys.modules["torch._dynamo.utils"] is found
    assert torch._dynamo.utils.is_compile_supported("cpu")


def test_one_that_is_imported_already_is_left_as_it_is(tmp_path):
    assert Forked(import_anew, log=tmp_path / "log").wait() == 0, text_of(tmp_path / "log")
