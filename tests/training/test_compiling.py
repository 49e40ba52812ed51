"""A step compiled as a whole: one graph, the same losses and gradients, nothing compiled anew as training goes on."""

import copy
import shutil
from functools import partialmethod
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from crossreid.methods.method import Method
from crossreid.training.compiling import compile_losses
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric
from crossreid.training.state import initial_state
from crossreid.training.step import train_step
from method_cases import batch_of, method_of, total
from tiny_backbone import TINY_NETWORK
from tiny_backbone import tiny_backbone as tiny_backbone

CPU = torch.device("cpu")
WHOLE = (
    "baseline with losses", "agw official", "transreid", "vd official", "ib mine", "vib", "idkl", "idkl official",
    "vkd by modality",
)  # fmt: skip
CHANGES = {"vd official": {"branches": "all"}}  # test_batches_of_another_composition has the specific ones


class Counted:
    """A backend of torch.compile that counts the graphs it is given."""

    def __init__(self, backend):
        self.backend, self.graphs = torch._dynamo.lookup_backend(backend), 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return self.backend(graph, inputs)


@pytest.fixture(autouse=True)
def forgotten():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients_of(method, terms):
    total(terms).backward()
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


def assert_alike(found, expected, *, rtol, atol):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


def assert_the_same(compiled, plain, losses, batch):
    """Losses and gradients, at the start of training and later."""
    for progress in (0.0, 0.5):
        found = []
        for method, call in ((compiled, losses), (plain, plain.losses)):
            method.progress = progress
            method.zero_grad()
            torch.manual_seed(5)
            terms = call(batch)
            found.append(({name: term.detach() for name, term in terms.items()}, gradients_of(method, terms)))
        assert_alike(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
        assert_alike(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("case", WHOLE)
def test_every_method_is_one_graph_and_stays_it(case, tiny_backbone):
    compiled, plain = (method_of(case, small=TINY_NETWORK, **CHANGES.get(case, {})) for _ in range(2))
    said = []
    # The gradient's graph costs three times that of the losses: it is made for the smallest method of two networks.
    backend = Counted("aot_eager" if case == "vkd by modality" else "eager")
    losses = compile_losses(compiled, TrainingOptions(), CPU, say=said.append, backend=backend)
    assert_the_same(compiled, plain, losses, batch_of(case))
    assert backend.graphs == 1
    assert len(said) == 1
    assert "losses and their gradient compiled as a whole in" in said[0]
    assert_alike(dict(compiled.named_buffers()), dict(plain.named_buffers()), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_code_that_is_generated_gives_the_same_losses_and_gradients(tiny_backbone):
    """With torch's own backend, in C++. Without dropout, as its draws are others."""
    compiled, plain = (
        method_of("baseline", small=TINY_NETWORK | {"name": "one_layer", "last_stride_one": False}) for _ in range(2)
    )
    batch, said = batch_of("baseline"), []
    found = compile_losses(compiled, TrainingOptions(), CPU, say=said.append)(batch)
    expected = plain.losses(batch)
    assert "compiled as a whole" in said[0]
    assert_alike(found, expected, rtol=1e-4, atol=1e-5)
    assert_alike(gradients_of(compiled, found), gradients_of(plain, expected), rtol=1e-3, atol=1e-5)


def test_batches_of_another_composition_are_compiled_at_most_once_more(tiny_backbone):
    compiled, plain = (method_of("vd paper", small=TINY_NETWORK, branches="specific") for _ in range(2))
    said, backend = [], Counted("eager")
    losses = compile_losses(compiled, TrainingOptions(), CPU, say=said.append, backend=backend)
    whole = batch_of("vd paper")
    for rows, graphs in ((range(12), 1), (range(10), 2), (range(8), 2)):
        part = whole._replace(composition=None)._replace(
            **{name: getattr(whole, name)[list(rows)] for name in ("images", "labels", "modalities", "cameras")}
        )
        assert_the_same(compiled, plain, losses, part)
        assert backend.graphs == graphs
    assert len(said) == 1
    assert "losses and their gradient compiled as a whole in" in said[0]
    assert_alike(dict(compiled.named_buffers()), dict(plain.named_buffers()), rtol=1e-5, atol=1e-6)


class Asking(nn.Module):
    """A method of somebody's, whose losses ask a tensor for its value."""

    progress = 0.0

    def __init__(self):
        super().__init__()
        self.encoder, self.compiled = nn.Linear(2, 2), []
        self.encoder.compile = lambda: self.compiled.append(self.encoder)

    @property
    def encoders(self):
        return [self.encoder]

    def losses(self, batch):
        value = self.encoder(batch).square().mean()
        return {"one": value if value.item() > 0 else -value}


def test_losses_that_branch_on_values_fall_back_by_name():
    method, said = Asking(), []
    losses = compile_losses(method, TrainingOptions(), CPU, say=said.append, backend="eager")
    for _ in range(2):
        assert float(losses(torch.ones(3, 2))["one"].detach()) == float(method.losses(torch.ones(3, 2))["one"].detach())
    assert method.compiled == [method.encoder], "the encoders, once"
    assert len(said) == 1
    assert said[0].startswith("training.compile: the losses cannot be compiled as a whole, so only the encoders are: ")
    assert "(losses, test_compiling.py:" in said[0]


def test_a_loss_of_another_library_falls_back_by_name(tiny_backbone, monkeypatch):
    pytest.importorskip("pytorch_metric_learning")
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))  # no need of C++
    method, said = (
        method_of("baseline", small=TINY_NETWORK, losses={"metric_learning": {"loss": "TripletMarginLoss"}}),
        [],
    )
    losses = compile_losses(method, TrainingOptions(), CPU, say=said.append, backend="eager")
    batch = batch_of("baseline")
    assert losses(batch).keys() == {"identity", "triplet", "metric_learning"}
    assert "metric_learning" in said[0]
    assert "only the encoders are" in said[0]


@pytest.mark.parametrize(
    ("changes", "processes", "reason"),
    [({}, 2, "2 processes"), ({"checkpoint_activations": True}, 1, "training.checkpoint_activations")],
)
def test_what_is_known_not_to_be_compiled_is_said_before(changes, processes, reason):
    method, said = Asking(), []
    found = compile_losses(method, TrainingOptions(**changes), CPU, processes=processes, say=said.append)
    assert found == method.losses
    assert method.compiled == [method.encoder]
    assert len(said) == 1
    assert reason in said[0]


class Paired(Asking):
    """One whose losses need an identity in both modalities."""

    composed = Method.composed

    def losses(self, batch):
        self.composed(batch).composition.refuse_unpaired()
        return {"one": self.encoder(batch.images.flatten(1)[:, :2]).square().mean()}


def test_a_batch_that_a_method_refuses_is_refused_in_its_words():
    said = []
    losses = compile_losses(Paired(), TrainingOptions(), CPU, say=said.append, backend="eager")
    batch = batch_of("baseline", composed=False)
    with pytest.raises(ValueError, match="no identity in both modalities"):
        losses(batch._replace(modalities=torch.zeros_like(batch.modalities)))
    assert "Observed exception (refuse_unpaired, composition.py:" in said[0]


def test_a_run_that_is_compiled_keeps_its_method_its_copies_and_its_checkpoint_as_they_are(
    tiny_backbone, monkeypatch, capsys
):
    options = TrainingOptions(accelerator="cpu", compile=True, ema=0.9)
    method = method_of("baseline", small=TINY_NETWORK)
    keys = set(method.state_dict())
    backend = Counted("eager")
    monkeypatch.setattr(
        "crossreid.training.state.compile_losses", lambda *given, **how: compile_losses(*given, **how, backend=backend)
    )
    state = initial_state(method, options, make_fabric(options))
    batch = batch_of("baseline")
    for _ in range(3):
        train_step(state, batch, options, steps_per_epoch=4)
    assert backend.graphs == 1
    assert "compiled as a whole" in capsys.readouterr().err
    assert set(state.to_checkpoint({}).tensors["model"]) == keys
    assert "losses" not in vars(state.method)
    assert "losses" not in vars(copy.deepcopy(state.evaluated))


def test_only_the_first_process_says_it(capsys):
    from crossreid.training.state import _say

    for first in (True, False):
        _say(SimpleNamespace(is_global_zero=first), f"line of {first}")
    assert capsys.readouterr().err.split("\n") == ["line of True", ""]
