"""A run that MindSpore trains: torch's batches, weights, rates and files; it resumes, and opens without MindSpore."""

import mindspore
import numpy as np
import pytest
import torch
from torch import nn

import crossreid
from crossreid.data.training_loading import TrainLoader
from crossreid.errors import CrossreidError
from crossreid.files import json_rows
from crossreid.mindspore.devices import use_device
from crossreid.mindspore.export import export_mindspore
from crossreid.mindspore.network import CellNetwork
from crossreid.mindspore.optimiser import CellOptimiser
from crossreid.mindspore.training import classes_of, framework_of
from crossreid.mindspore.training import train as train_in_mindspore
from crossreid.runs.evaluate import score_network
from crossreid.runs.run import fresh_method, open_run, open_split
from crossreid.runs.train import train as train_in_torch
from crossreid.training.checkpoint import load_checkpoint
from crossreid.training.framework import TORCH
from crossreid.training.optimisation import make_optimiser, set_rates
from crossreid.training.processes import make_fabric
from crossreid.training.step import NonFiniteLoss
from mindspore_runs import tiny_recipe, tiny_world
from typed_commands import ran, refused

ABSOLUTE = 1e-4


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tiny_world(tmp_path_factory.mktemp("worlds") / "world")


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """A run by the command, and its recipe's file."""
    folder = tmp_path_factory.mktemp("trained")
    file = folder / "tiny.yaml"
    file.write_text(tiny_recipe(world).as_yaml())
    said = ran("train", file, "--framework", "mindspore", "--out", folder / "run")
    assert "MindSpore on CPU" in said
    assert "finished" in said
    return folder / "run", file


class Small(nn.Module):
    """Parameters of two parts, vectors among them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.head = nn.Linear(5, 4), nn.Linear(4, 3)

    @property
    def encoders(self):
        return [self.encoder]


def after_steps(recipe, split, framework, steps):
    """The weights before, those after so many steps of real batches, and the losses of each."""
    method = fresh_method(recipe, split)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    framework = framework(recipe, method)
    state = framework.initial_state(method, recipe.training, make_fabric(recipe.training))
    state.training_mode(recipe.training)
    loader = TrainLoader(split.train, recipe.data, seed=recipe.training.seed)
    losses = []
    while state.step < steps:
        for batch in loader(state.epoch):
            framework.train_step(state, batch, recipe.training, steps_per_epoch=len(loader))
            losses.append(state.losses)
            if state.step == steps:
                break
        else:
            state.epoch, state.step_in_epoch = state.epoch + 1, 0
    return before, state.to_checkpoint({}).tensors["model"], losses


ADAM = ["training.optimiser={name: adam, lr: 2.6e-4, weight_decay: 5.0e-4}"]
SGD = [
    "training.optimiser={name: sgd, lr: 1.0e-2, weight_decay: 5.0e-4, rates: {backbone: 0.1}, decay_vectors: false}",
    "training.clip=5",
]
# Weights that are all near 1: the default's 8 of mutual learning magnifies rounding from step to step.
LIGHT = [
    "method.self_weight=0.5",
    "method.cross_weight=0.5",
    "method.consistency_weight=0.5",
    "method.mutual_weight=1",
    "method.mutual_of=both",
]


def difference(some, others, names):
    """The length of what lies between two sets of tensors, and that of the second."""
    apart = [float((some[name].double() - others[name].double()).norm()) for name in names]
    return np.linalg.norm(apart), np.linalg.norm([float(others[name].double().norm()) for name in names])


@pytest.mark.parametrize(("options", "steps"), [(ADAM, 10), (SGD, 3)], ids=["adam", "sgd"])
def test_weights_after_steps_are_torchs(world, options, steps):
    """All weights together: a bias whose gradient is 0 but for rounding moves by rounding, and so does torch's own.

    Running variances of six images magnify rounding, of which torch by two threads, whose sums are of another order, is the measure;
    a variance that is biased, or of another momentum, lies fifty times further off.
    """
    recipe = tiny_recipe(world, *options, *LIGHT, "data.sampler.identities=3", "data.sampler.images=2")
    split = open_split(recipe)
    before, theirs, losses = after_steps(recipe, split, lambda recipe, method: TORCH, steps)
    torch.set_num_threads(1 if torch.get_num_threads() > 1 else 2)
    _, rounded, _ = after_steps(recipe, split, lambda recipe, method: TORCH, steps)
    again, ours, found = after_steps(recipe, split, framework_of, steps)
    assert all(torch.equal(before[name], again[name]) for name in before)
    assert ours.keys() == theirs.keys()
    for one, other in zip(found, losses, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)
    assert all(ours[name].dtype == weights.dtype for name, weights in theirs.items())
    statistics = [name for name in theirs if "running_" in name]
    weights = [name for name in theirs if name not in statistics]
    apart, length = difference(ours, theirs, weights)
    assert apart <= 1e-3 * length
    assert apart <= 0.1 * difference(theirs, before, weights)[0]
    apart, length = difference(ours, theirs, statistics)
    assert apart <= max(1e-3 * length, 5 * difference(rounded, theirs, statistics)[0])
    assert apart <= 0.1 * difference(theirs, before, statistics)[0]


@pytest.mark.parametrize(
    "optimiser",
    [
        "{name: adam, lr: 1.0e-2, weight_decay: 1.0e-2}",
        "{name: adamw, lr: 1.0e-2, weight_decay: 1.0e-1, decay_vectors: false, rates: {backbone: 0.1}}",
        "{name: sgd, lr: 1.0e-1, weight_decay: 1.0e-2}",
        "{name: sgd, lr: 1.0e-1, momentum: 0.8, nesterov: true}",
    ],
    ids=["adam", "adamw", "sgd", "nesterov"],
)
def test_ten_updates_by_the_same_gradients_are_torchs_over_a_restart_too(world, optimiser):
    options = tiny_recipe(world, f"training.optimiser={optimiser}").training.optimiser
    own, other = Small(), Small()
    other.load_state_dict(own.state_dict())
    twin, wanted = make_optimiser(other, options), make_optimiser(own, options)
    generator = torch.Generator().manual_seed(0)
    cells = {id(p): mindspore.Parameter(p.detach().numpy().copy(), name=name) for name, p in other.named_parameters()}
    mover = CellOptimiser(twin, cells, options)
    for step in range(10):
        if step == 5:  # all that is kept goes through torch's optimiser
            mover.keep(step)
            mover = CellOptimiser(twin, cells, options)
            mover.take_up(step)
        for optimiser in (wanted, twin):
            set_rates(optimiser, 1 / (1 + step))
        for parameter in mover.of_torch:
            parameter.grad = 10.0 ** float(torch.randint(-9, 2, (), generator=generator)) * torch.randn(
                parameter.shape, generator=generator
            )
        for parameter, like in zip((p for g in wanted.param_groups for p in g["params"]), mover.of_torch, strict=True):
            parameter.grad = like.grad.clone()
        wanted.step()
        mover.step([mindspore.Tensor(parameter.grad.numpy()) for parameter in mover.of_torch])
    for (name, mine), place in zip(own.named_parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(
            cells[id(place)].asnumpy(), mine.detach().numpy(), rtol=1e-5, atol=2e-6, err_msg=name
        )


def test_a_run_has_the_files_of_a_run_and_mindspores_checkpoints(trained, world):
    run, _ = trained
    names = {path.name for path in run.iterdir()}
    assert {"recipe.yaml", "metrics.jsonl", "last.safetensors", "last.ckpt", "best.safetensors", "best.ckpt"} <= names
    assert "framework: mindspore" in (run / "recipe.yaml").read_text()
    rows = [row for row in json_rows(run / "metrics.jsonl") if "losses" in row]
    assert list(rows[0]["losses"]) == ["identity", "ranking", "mutual", "vsd", "vcd", "vml"]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    stored = load_checkpoint(run / "last.safetensors")
    assert stored.facts["recipe"]["training"]["framework"] == "mindspore"
    assert stored.facts["step"] == len(rows)


def test_the_same_weights_score_the_same_in_both(trained):
    run = open_run(trained[0])
    use_device("cpu")
    from crossreid.mindspore.weights import build, load_torch

    cell = build(run.recipe, classes_of(run.method))
    load_torch(cell, {name: tensor.numpy() for name, tensor in run.method.state_dict().items()})
    theirs, scores = score_network(run.method, run.split, run.recipe)
    ours, found = score_network(CellNetwork(cell), run.split, run.recipe)
    assert np.abs(ours[""].embeddings - theirs[""].embeddings).max() < ABSOLUTE
    for one, other in zip(found, scores, strict=True):
        assert [one.rank(k) for k in (1, 5, 10)] == [other.rank(k) for k in (1, 5, 10)]
        assert one.mAP == pytest.approx(other.mAP, abs=1e-9)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(trained, world, tmp_path, monkeypatch):
    whole, file = trained
    out = tmp_path / "run"
    from crossreid.mindspore import state as states

    real = states.train_step

    def killed(state, *given, **named):
        if state.step == 2:
            raise KeyboardInterrupt
        return real(state, *given, **named)

    monkeypatch.setattr(states, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_in_mindspore(file, out)
    assert load_checkpoint(out / "last.safetensors").facts["step"] == 2
    monkeypatch.setattr(states, "train_step", real)
    ran("train", file, "--framework", "mindspore", "--out", out)
    ours, theirs = (load_checkpoint(run / "last.safetensors") for run in (out, whole))
    for kind in ("model", "optimiser"):
        assert ours.tensors[kind].keys() == theirs.tensors[kind].keys()
        assert all(torch.equal(ours.tensors[kind][name], tensor) for name, tensor in theirs.tensors[kind].items())
    assert "was already finished" in ran("train", file, "--framework", "mindspore", "--out", out)


def test_torch_does_not_go_on_with_it_nor_it_with_torchs(trained, capsys):
    run, file = trained
    assert "training.framework was 'mindspore', is 'torch'" in refused(capsys, "train", file, "--out", run)


def test_a_loss_that_is_not_finite_stops_the_run_by_its_name(world, tmp_path):
    recipe = tiny_recipe(world, "training.optimiser.lr=1.0e+30", "training.schedule.warmup_epochs=0")
    with pytest.raises(NonFiniteLoss, match="is not finite at step"):
        train_in_mindspore(recipe, tmp_path / "run")


def test_what_opens_runs_opens_it(trained, world, tmp_path):
    run, _ = trained
    assert "rank-1" in ran("evaluate", run)
    model = crossreid.open_model(run)
    assert model.dimension == model.embed(torch.zeros(2, 3, 32, 16), torch.zeros(2)).shape[1]
    report = crossreid.report([run], tmp_path / "report.html")
    assert report.is_file()


def test_a_torch_run_goes_to_mindspore_and_back(world, tmp_path, capsys):
    recipe = tiny_recipe(world, "training.epochs=1")
    train_in_torch(recipe, tmp_path / "torch")
    file = tmp_path / "weights.ckpt"
    said = ran("export", tmp_path / "torch", "--to", "mindspore", "--out", file)
    assert "differs from torch by at most" in said
    assert file.is_file()
    back = tmp_path / "back"
    assert "made from" in ran("import", file, "--out", back)
    theirs, ours = crossreid.open_model(tmp_path / "torch"), crossreid.open_model(back)
    assert ours.fingerprint == theirs.fingerprint
    assert "already holds a run" in refused(capsys, "import", file, "--out", back)
    (tmp_path / "tiny.yaml").write_text(recipe.as_yaml())
    said = refused(capsys, "train", tmp_path / "tiny.yaml", "--out", back)
    assert (
        f"it holds only weights, so training cannot resume from it. Train into another --out, with --set start_from={back}"
        in said
    )
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(file.read_bytes()[:1000])
    assert "damaged" in refused(capsys, "import", damaged, "--out", tmp_path / "other")
    with pytest.raises(CrossreidError, match="differ from torch's"):
        export_mindspore(tmp_path / "torch", tmp_path / "strict.ckpt", tolerance=0.0)
    assert not (tmp_path / "strict.ckpt").exists()
