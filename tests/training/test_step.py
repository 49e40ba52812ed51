import pytest
import torch

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.methods.baseline import Baseline, BaselineOptions
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric
from crossreid.training.state import initial_state
from crossreid.training.step import NonFiniteLoss, train_step
from crossreid.training.unread_losses import UnreadLosses
from no_synchronisation import cuda_without_synchronisation, no_synchronisation
from on_images import OnImages
from small_run import Small, batches


def start(options, method=None):
    return initial_state(method or Small(0.0), options, make_fabric(options))


def test_weights_are_updated_once_a_group_of_batches_and_at_the_end_of_an_epoch():
    options = TrainingOptions(accumulate=2, accelerator="cpu")
    state = start(options)
    updated, moved = [], []
    for _, batch in zip(range(3), batches()(0, 0), strict=False):
        before = state.method.classifier.weight.detach().clone()
        updated.append(train_step(state, batch, options, steps_per_epoch=3))
        moved.append(not torch.equal(before, state.method.classifier.weight))
    assert updated == moved == [False, True, True]
    assert (state.step, state.step_in_epoch, state.epoch) == (3, 3, 0)
    assert state.losses.keys() == {"identity", "ranking"}


def test_rate_and_progress_are_those_of_the_step():
    options = TrainingOptions(
        epochs=2, accelerator="cpu", optimiser={"lr": 0.5}, schedule={"kind": "step", "milestones": [1]}
    )
    state = start(options)
    batch = next(batches()(0, 0))
    found = []
    for _ in range(4):
        train_step(state, batch, options, steps_per_epoch=2)
        found.append((state.method.progress, state.optimiser.param_groups[0]["lr"]))
    assert found == [(0.0, 0.5), (0.25, 0.5), (0.5, 0.05), (0.75, 0.05)]


def test_a_loss_that_is_not_finite_changes_neither_weights_nor_counters():
    class Broken(Small):
        def losses(self, batch):
            return {"identity": super().losses(batch)["identity"], "other": torch.tensor(float("inf"))}

    options = TrainingOptions(accelerator="cpu")
    state = start(options, Broken())
    before = state.method.classifier.weight.detach().clone()
    with pytest.raises(NonFiniteLoss, match="loss other is not finite at step 0"):
        train_step(state, next(batches()(0, 0)), options, steps_per_epoch=8)
    assert torch.equal(before, state.method.classifier.weight)
    assert (state.step, state.losses) == (0, {})


def tensors(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(before, module):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


def test_frozen_encoders_keep_weights_and_statistics_while_the_rest_learns():
    options = TrainingOptions(freeze=["backbone"], unfreeze_after=1, epochs=2, accelerator="cpu", clip=1e-3, ema=0.5)
    state = start(options)
    before, one = tensors(state.method), next(batches()(0, 0))
    state.training_mode(options)
    assert not state.method.encoder[1].training
    train_step(state, one, options, steps_per_epoch=1)
    assert moved(before, state.method) == {"classifier.weight", "classifier.bias"}
    state.epoch, state.step_in_epoch = 1, 0
    train_step(state, one, options, steps_per_epoch=1)
    assert state.method.encoder[1].training
    assert moved(before, state.method) == before.keys()


def images():
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def stages_of(names):
    return {name.split(".")[2] for name in names if name.startswith("backbone.")}


def test_frozen_stages_keep_theirs_and_may_learn_later():
    options = TrainingOptions(freeze=["stem", "stage1"], accelerator="cpu", ema=0.5)
    state = start(options, OnImages())
    before = tensors(state.method)
    state.training_mode(options)
    train_step(state, images(), options, steps_per_epoch=2)
    names = moved(before, state.method)
    assert stages_of(names) == {"layer2", "layer3", "layer4"}
    assert "classifier.weight" in names
    kept = state.to_checkpoint({})
    assert not any(name.startswith("0/") for name in kept.tensors["optimiser"]), "the first weight has no state"


def test_stages_learn_one_after_the_other_in_the_middle_of_an_epoch_too():
    options = TrainingOptions(
        freeze=["stem", "stage1", "stage3", "stage4"], unfreeze_after={"stage4": 0.5, "stage3": 1, "stage1": 1.25},
        accelerator="cpu", accumulate=2,
    )  # fmt: skip
    state = start(options, OnImages())
    learnt = []
    for epoch in range(2):
        state.epoch, state.step_in_epoch = epoch, 0
        state.training_mode(options)
        for _ in range(4):
            before = tensors(state.method)
            train_step(state, images(), options, steps_per_epoch=4)
            learnt.append(stages_of(moved(before, state.method)) - {"layer2"})
    # Of an update of two steps both see the same; batch norms in training move at every step.
    four, three, one = {"layer4"}, {"layer4", "layer3"}, {"layer4", "layer3", "layer1"}
    assert learnt == [set(), set(), four, four, three, three, one, one]
    assert not state.method.backbone.network.bn1.training


def test_what_is_frozen_in_one_process_takes_no_gradient():
    state = start(TrainingOptions(freeze=["backbone"], unfreeze_after=1, epochs=2, accelerator="cpu"), OnImages())
    terms = state.method.losses(images())
    assert [p.requires_grad for p in state.method.backbone.parameters()] == [False] * len(
        list(state.method.backbone.parameters())
    )
    terms["identity"].backward()
    assert all(p.grad is None for p in state.method.backbone.parameters())
    assert state.method.classifier.weight.grad is not None


def test_what_never_learns_is_not_thawed():
    method = OnImages()
    method.backbone.network.bn1.bias.requires_grad_(False)
    options = TrainingOptions(freeze=["backbone"], unfreeze_after=0.5, accelerator="cpu")
    state = start(options, method)
    for _ in range(2):
        train_step(state, images(), options, steps_per_epoch=2)
    assert method.backbone.network.conv1[0].weight.requires_grad
    assert not method.backbone.network.bn1.bias.requires_grad


def test_parts_that_are_not_there_are_refused():
    with pytest.raises(
        CrossreidError, match=r"training\.freeze: stage8: 9 stages are asked for, but the encoder has 5 stages"
    ):
        start(TrainingOptions(freeze=["stage8"], accelerator="cpu"), OnImages())
    with pytest.raises(CrossreidError, match=r"training\.freeze: stem, but Sequential has no leading_stages"):
        start(TrainingOptions(freeze=["stem"], accelerator="cpu"))
    headless = OnImages()
    headless.classifier.requires_grad_(False)
    with pytest.raises(CrossreidError, match="leaves nothing to learn in OnImages"):
        start(TrainingOptions(freeze=["backbone"], accelerator="cpu"), headless)


@pytest.mark.parametrize(("precision", "expected"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_the_network_computes_in_the_precision_that_is_asked_for(precision, expected):
    options = TrainingOptions(accelerator="cpu", precision=precision)
    state = start(options, OnImages())
    found = {}

    def note(name):
        def hook(module, given, output):
            found[name] = output.dtype

        return hook

    for name in ("backbone.network.conv1.0", "backbone.network.layer2.0.conv1", "classifier"):
        state.method.get_submodule(name).register_forward_hook(note(name))
    train_step(state, images(), options, steps_per_epoch=8)
    assert set(found.values()) == {expected}
    assert len(found) == 3
    assert {parameter.dtype for parameter in state.method.parameters()} == {torch.float32}
    exact = OnImages().double().train()
    expected_loss = exact.losses((images()[0].double(), images()[1]))["identity"].item()
    assert state.losses["identity"] == pytest.approx(expected_loss, rel=1e-5 if precision == "32-true" else 2e-2)


def baseline_batch(step):
    generator = torch.Generator().manual_seed(step)
    labels, modalities = torch.arange(8) // 2, torch.arange(8) % 2
    return Batch(torch.randn(8, 3, 32, 16, generator=generator), labels, modalities, torch.zeros_like(labels))


def steps_of_the_baseline(device, steps, **options):
    """A state of the baseline on a device, and a function that trains it so many steps, with all that a step may have."""
    options = TrainingOptions(
        accelerator=device, clip=1.0, ema=0.9, accumulate=2, freeze=["stem"], unfreeze_after=0.5,
        schedule={"kind": "cosine", "warmup_steps": 2}, **options,
    )  # fmt: skip
    torch.manual_seed(0)
    method = Baseline(BaselineOptions(backbone={"name": "test_resnet", "weights": "none"}), 4)
    state = start(options, method)
    state.unread = UnreadLosses(ahead=steps)
    state.training_mode(options)
    given = [state.fabric.to_device(baseline_batch(step)) for step in range(steps)]

    def train(batches):
        for batch in batches:
            train_step(state, batch, options, steps_per_epoch=steps)

    return state, train, given


def test_no_step_waits_for_the_device():
    state, train, given = steps_of_the_baseline("cpu", 6)
    with no_synchronisation():
        train(given)
    assert state.losses == {}
    state.unread.flush()
    at_once, train, given = steps_of_the_baseline("cpu", 6)
    at_once.unread = UnreadLosses()
    train(given)
    assert state.unread.take() == at_once.unread.take()
    assert all(torch.equal(one, other) for one, other in zip(
        state.method.state_dict().values(), at_once.method.state_dict().values(), strict=True
    ))  # fmt: skip


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_on_a_gpu_waits_for_it(precision):
    state, train, given = steps_of_the_baseline("cuda", 8, precision=precision)
    train(given[:4])  # what is set up in the first steps may wait
    with cuda_without_synchronisation():
        train(given[4:])
    state.unread.flush()
    assert len(state.unread.take()) == 8
