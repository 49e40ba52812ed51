import itertools
import json
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import small_run
from crossreid.data.batch import Batch
from crossreid.methods.method import Method
from crossreid.training import folder, state
from crossreid.training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from crossreid.training.loop import fit
from crossreid.training.options import TrainingOptions
from crossreid.training.signals import Interrupted
from crossreid.training.step import NonFiniteLoss
from forked import Forked, fork_together, ran_together, text_of
from small_run import STEPS, Small, run


def weights(out, kind="model"):
    return load_checkpoint(Path(out) / "last.safetensors").tensors[kind]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def rows(out):
    return [json.loads(line) for line in (Path(out) / "metrics.jsonl").read_text().splitlines()]


def start(kind, out):
    return Forked(small_run.one_of, kind, out)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(tmp_path):
    assert start("killable", tmp_path / "whole").wait(120) == 0
    moments = random.Random(4)
    kills = 0
    for _ in range(3):
        process = start("killable", tmp_path / "killed")
        before = (tmp_path / "killed" / "last.safetensors").stat().st_mtime_ns if kills else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:  # until it has written something new
            path = tmp_path / "killed" / "last.safetensors"
            if path.is_file() and path.stat().st_mtime_ns > before:
                break
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.12))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 2
    assert start("killable", tmp_path / "killed").wait(120) == 0
    for kind in ("model", "ema", "optimiser"):
        assert same(weights(tmp_path / "whole", kind), weights(tmp_path / "killed", kind)), kind
    steps = [row["step"] for row in rows(tmp_path / "killed") if "losses" in row]
    assert steps == list(range(1, 3 * STEPS + 1))
    assert not list((tmp_path / "killed").glob(".*.tmp.*"))

    def values(out):
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows(out)]

    assert values(tmp_path / "whole") == values(tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "frozen"])
def test_two_processes_give_what_one_gives(kind, tmp_path):
    assert start(kind, tmp_path / "one").wait(120) == 0
    ran_together(2, small_run.one_of, kind, tmp_path / "two", folder=tmp_path)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    fresh = Small(0.0).state_dict()
    assert not torch.allclose(one["classifier.weight"], fresh["classifier.weight"], atol=1e-2), "it learned something"
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-5)


def test_a_finished_run_writes_nothing_and_more_epochs_go_on(tmp_path):
    def files():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (tmp_path / "a").rglob("*")}

    run(tmp_path / "a", epochs=2)
    before = files()
    again = run(tmp_path / "a", epochs=2)
    assert again.steps == again.steps_before == 2 * STEPS
    assert files() == before
    run(tmp_path / "a", epochs=3)
    run(tmp_path / "b", epochs=3)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_how_often_one_validates_changes_no_weight(tmp_path):
    def noisy(method):
        assert not method.training
        torch.rand(7), random.random()
        return {"rank-1": 0.5}

    run(tmp_path / "never")
    run(tmp_path / "often", validate=noisy)
    assert same(weights(tmp_path / "never"), weights(tmp_path / "often"))
    assert (tmp_path / "often" / "best.safetensors").is_file()
    assert [row["validation"] for row in rows(tmp_path / "often") if "validation" in row] == [{"rank-1": 0.5}] * 3


def test_best_is_the_epoch_that_validated_best(tmp_path):
    numbers = iter((0.2, 0.7, 0.4))
    result = run(tmp_path, validate=lambda method: {"rank-1": next(numbers)})
    assert result.best == 0.7
    assert load_checkpoint(tmp_path / "best.safetensors").facts["epoch"] == 2


def test_accumulated_batches_are_one_large_batch(tmp_path):
    """Frozen statistics and a loss that is a mean: two halves in turn give the gradient of the whole."""

    class Mean(Small):
        def losses(self, batch):
            return {"identity": super().losses(batch)["identity"]}

    def halves(epoch, first_step):
        whole = list(small_run.batches()(epoch, 0))
        parts = [tuple(t[half : half + 8] for t in batch) for batch in whole[: STEPS // 2] for half in (0, 8)]
        return iter(parts[first_step:])

    def wholes(epoch, first_step):
        return iter(list(small_run.batches()(epoch, 0))[: STEPS // 2])

    common = {"epochs": 1, "freeze_batch_statistics": True, "schedule": {"kind": "constant"}}
    run(tmp_path / "halves", method=Mean(0.0), loader=halves, accumulate=2, **common)
    run(tmp_path / "wholes", method=Mean(0.0), loader=wholes, **common)
    for key, value in weights(tmp_path / "wholes").items():
        torch.testing.assert_close(value, weights(tmp_path / "halves")[key], atol=1e-5, rtol=1e-4)


def test_the_last_group_of_an_epoch_is_the_mean_of_what_it_has(tmp_path):
    """Three batches, two a step: the second step is that of a batch alone."""
    common = {"freeze_batch_statistics": True, "schedule": {"kind": "constant"}, "dropout": 0.0,
              "optimiser": {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}}  # fmt: skip
    first, second, third = list(small_run.batches()(0, 0))[:3]
    run(
        tmp_path / "a",
        epochs=1,
        steps=3,
        loader=lambda epoch, at: iter([first, second, third][at:]),
        accumulate=2,
        **common,
    )
    run(tmp_path / "b", epochs=1, steps=2, loader=lambda epoch, at: iter([first, second][at:]), accumulate=2, **common)
    alone = Small(0.0)
    alone.load_state_dict(weights(tmp_path / "b"))
    run(tmp_path / "c", epochs=1, steps=1, loader=lambda epoch, at: iter([third]), method=alone, **common)
    for key, value in weights(tmp_path / "c").items():
        torch.testing.assert_close(value, weights(tmp_path / "a")[key], atol=1e-6, rtol=1e-5)


def test_checkpoints_within_an_epoch_come_as_soon_as_a_step_is_whole(tmp_path):
    """Due at 3 and 6, but a step is whole at 2, 4, 6 and 8 only."""

    class Killed(Small):
        def losses(self, batch):
            self.count = getattr(self, "count", 0) + 1
            if self.count == stop:
                raise RuntimeError("killed")
            return super().losses(batch)

    for stop, expected in ((4, None), (5, 4), (8, 6)):
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / str(stop), method=Killed(), accumulate=2, checkpoint_steps=3)
        last = tmp_path / str(stop) / "last.safetensors"
        assert (load_checkpoint(last).facts["step_in_epoch"] if last.is_file() else None) == expected


def test_a_kill_between_the_best_and_the_last_checkpoint_leaves_no_row_twice(tmp_path, monkeypatch):
    real = folder.save_checkpoint

    def killed_after_best(path, content):
        real(path, content)
        if path.name == "best.safetensors":
            raise RuntimeError("killed")

    options = {"validate": lambda method: {"rank-1": 0.5}, "checkpoint_steps": 4}
    monkeypatch.setattr(folder, "save_checkpoint", killed_after_best)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, epochs=2, **options)
    monkeypatch.undo()
    run(tmp_path, epochs=2, **options)
    assert [row["step"] for row in rows(tmp_path) if "validation" in row] == [STEPS, 2 * STEPS]
    assert [row["step"] for row in rows(tmp_path) if "losses" in row] == list(range(1, 2 * STEPS + 1))


def test_tensorboard_has_every_step_once_after_going_on(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, epochs=1)
    run(tmp_path, epochs=2)
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("train/total")] == list(range(1, 2 * STEPS + 1))


def test_every_global_generator_is_seeded(tmp_path):
    drawn = []

    def loader(epoch, first):
        drawn.append((float(torch.rand(())), random.random(), float(np.random.rand())))  # noqa: NPY002
        return small_run.batches()(epoch, first)

    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, epochs=1, loader=loader, seed=seed)
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[0], drawn[2], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_asked_to_stop_writes_a_checkpoint_and_goes_on_to_the_same_bits(tmp_path, number, status):
    assert start("stoppable", tmp_path / "whole").wait(120) == 0
    process = start("stoppable", tmp_path / "stopped")
    while not (tmp_path / "stopped" / "tensorboard").is_dir():  # made as training begins
        time.sleep(0.005)
    time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(60) == status
    facts = load_checkpoint(tmp_path / "stopped" / "last.safetensors").facts
    assert 0 < facts["step"] < 3 * STEPS
    assert facts["step_in_epoch"] > 0, "within an epoch, where only the signal makes it write"
    assert len([row for row in rows(tmp_path / "stopped") if "losses" in row]) == facts["step"]
    assert start("stoppable", tmp_path / "stopped").wait(120) == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


@pytest.mark.slow
def test_processes_of_which_one_is_asked_to_stop_stop_together(tmp_path):
    running, logs = fork_together(2, small_run.one_of, "stoppable", tmp_path / "run", folder=tmp_path)
    while not (tmp_path / "run" / "tensorboard").is_dir():
        time.sleep(0.005)
    time.sleep(0.2)
    running[1].send_signal(signal.SIGTERM)
    assert [process.wait(60) for process in running] == [143, 143], "\n".join(map(text_of, logs))
    step = load_checkpoint(tmp_path / "run" / "last.safetensors").facts["step"]
    assert 0 < step < 3 * STEPS
    assert [row["step"] for row in rows(tmp_path / "run") if "losses" in row] == list(range(1, step + 1))


@pytest.mark.slow
def test_processes_that_validate_differently_agree_on_the_first_ones_numbers(tmp_path):
    ran_together(2, small_run.one_of, "disagreeing", tmp_path, folder=tmp_path)
    assert [row["validation"]["rank-1"] for row in rows(tmp_path) if "validation" in row] == [0.0, 0.1, 0.2]
    assert load_checkpoint(tmp_path / "best.safetensors").facts["epoch"] == 3


@pytest.mark.parametrize("missing", ["epoch", "generators", "recipe"])
def test_a_checkpoint_that_lacks_a_fact_is_named(tmp_path, missing):
    run(tmp_path, epochs=1)
    last = tmp_path / "last.safetensors"
    stored = load_checkpoint(last)
    facts = {key: value for key, value in stored.facts.items() if key != missing}
    save_checkpoint(last, Checkpoint(stored.tensors, facts))
    with pytest.raises(CheckpointError, match=rf"is damaged \({missing} missing\)"):
        run(tmp_path, epochs=2)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_learns(tmp_path, precision):
    run(tmp_path, epochs=20, dropout=0.0, precision=precision, optimiser={"lr": 1e-2}, clip=1.0,
        loader=lambda epoch, first: small_run.batches()(0, first))  # fmt: skip
    totals = [row["total"] for row in rows(tmp_path)]
    assert sum(totals[-STEPS:]) < 0.7 * sum(totals[:STEPS])
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_averaged_weights_are_the_average(tmp_path):
    seen = []

    class Watched(Small):
        def losses(self, batch):
            seen.append(self.classifier.weight.detach().clone())
            return super().losses(batch)

    run(tmp_path, epochs=1, ema=0.5, method=Watched())
    seen.append(weights(tmp_path)["classifier.weight"])
    average = seen[1]
    for value in seen[2:]:
        average = 0.5 * average + 0.5 * value
    torch.testing.assert_close(weights(tmp_path, "ema")["classifier.weight"], average)


def test_a_term_that_is_not_finite_is_named_and_nothing_is_lost(tmp_path):
    class Broken(Small):
        def losses(self, batch):
            terms = super().losses(batch)
            self.count = getattr(self, "count", 0) + 1
            return {**terms, "ranking": terms["ranking"] * (float("nan") if self.count > STEPS else 1)}

    with pytest.raises(NonFiniteLoss, match="ranking is not finite at step 8"):
        run(tmp_path, method=Broken())
    assert load_checkpoint(tmp_path / "last.safetensors").facts["epoch"] == 1


def test_frozen_statistics_stay(tmp_path):
    run(tmp_path, freeze_batch_statistics=True)
    assert torch.equal(weights(tmp_path)["encoder.1.running_mean"], torch.zeros(16))


def test_another_recipe_is_refused_with_what_differs(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=r"training\.clip was None, is 1\.0"):
        run(tmp_path, epochs=2, clip=1.0)


def test_an_unknown_monitor_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training\.monitor is 'rank-2'"):
        run(tmp_path, monitor="rank-2", validate=lambda method: {"rank-1": 0.0})


def test_a_method_of_ones_own_trains_in_one_call(tmp_path):
    """All that the contract asks for, and nothing of it to say to `fit` but where to and how long."""

    class Tiny(Method):
        def __init__(self):
            super().__init__()
            self.encoder, self.classifier = nn.Linear(3 * 4 * 2, 8), nn.Linear(8, 4)
            self.progresses = []

        @property
        def encoders(self):
            return [self.encoder]

        def features(self, images, modalities):
            return self.encoder(images.flatten(1))

        def predict(self, images, modalities):
            features = self.features(images, modalities)
            return features, self.classifier(features)

        def losses(self, batch):
            self.progresses.append(self.progress)
            logits = self.classifier(self.features(batch.images, batch.modalities))
            return {"identity": nn.functional.cross_entropy(logits, batch.labels)}

    def batches(epoch, first):
        generator = torch.Generator().manual_seed(epoch)
        batch = Batch(
            torch.randn(8, 3, 4, 2, generator=generator), torch.arange(8) % 4, torch.zeros(8).long(), torch.arange(8)
        )
        return [batch, batch][first:]

    method = Tiny()
    options = TrainingOptions(epochs=2, accelerator="cpu")
    result = fit(method, batches, options=options, out=tmp_path, steps_per_epoch=2)
    assert (result.steps, result.steps_before, result.best) == (4, 0, None)
    assert method.progresses == [0.0, 0.25, 0.5, 0.75]
    assert same(weights(tmp_path), method.state_dict())
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]
    assert fit(Tiny(), batches, options=options, out=tmp_path, steps_per_epoch=2).steps_before == 4
    with pytest.raises(CheckpointError, match=r"training\.seed was 0, is 1"):
        fit(Tiny(), batches, options=TrainingOptions(epochs=2, seed=1), out=tmp_path, steps_per_epoch=2)


def test_the_speed_counts_images_as_it_is_asked_to(tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(folder.time, "perf_counter", lambda: float(next(clock)))
    options = TrainingOptions(epochs=1, accelerator="cpu")
    common = {"options": options, "steps_per_epoch": STEPS}
    fit(Small(), small_run.batches(), out=tmp_path / "a", **common)
    fit(Small(), small_run.batches(), out=tmp_path / "b", count_images=lambda batch: 5 * len(batch[0]), **common)
    assert {row["images_per_second"] for row in rows(tmp_path / "a")} == {float(small_run.BATCH)}
    assert {row["images_per_second"] for row in rows(tmp_path / "b")} == {5.0 * small_run.BATCH}


def test_epochs_may_differ_in_length_and_are_gone_on_with(tmp_path):
    """What is given in epochs goes by whole epochs, what is given in steps by all steps; a killed run loses neither."""
    lengths = [3, 5, 2]

    def loader(stop_at=None):
        def of_epoch(epoch, first_step):
            for step in range(first_step, lengths[epoch]):
                if (epoch, step) == stop_at:
                    raise KeyboardInterrupt
                generator = torch.Generator().manual_seed(100 * epoch + step)
                images = torch.randn(4, 8, generator=generator)
                yield images, torch.randint(4, (4,), generator=generator)

        return of_epoch

    common = {"steps": lengths.__getitem__, "checkpoint_steps": 1, "optimiser": {"lr": 1.0, "name": "sgd"}}
    for name, schedule, rates in (
        ("epochs", {"milestones": (1, 2)}, [1.0] * 3 + [0.1] * 5 + [0.01] * 2),
        ("steps", {"milestone_steps": (4, 9)}, [1.0] * 4 + [0.1] * 5 + [0.01]),
        ("cosine", {"kind": "cosine"}, None),
    ):
        options = common | {"schedule": schedule}
        assert run(tmp_path / name / "whole", loader=loader(), **options).steps == sum(lengths)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / name / "cut", loader=loader((1, 3)), **options)
        run(tmp_path / name / "cut", loader=loader(), **options)
        assert same(weights(tmp_path / name / "whole"), weights(tmp_path / name / "cut"))
        found = [row["lr"] for row in rows(tmp_path / name / "whole")]
        assert len(found) == sum(lengths)
        if rates is not None:
            assert found == pytest.approx(rates)
        else:
            assert found == sorted(found, reverse=True)


def test_keys_that_change_no_weight_never_stand_in_the_way(tmp_path):
    """Each may change at every start; what was trained is what it would have been."""
    noise = lambda method: {"rank-1": 0.5, "mAP": 0.25}  # noqa: E731
    run(tmp_path / "whole", epochs=3)
    run(tmp_path / "changed", epochs=1, checkpoint_steps=3, validate=noise)
    run(tmp_path / "changed", epochs=2, validate_every=2, checkpoint_steps=5, validate=noise)
    result = run(tmp_path / "changed", epochs=3, monitor="mAP", validate=noise)
    assert result.best == 0.25, "the best by another number counts no more"
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "changed"))
    changes = json.loads((tmp_path / "changed" / "changes.json").read_text())
    assert [(change["step"], change["key"], change["was"], change["now"]) for change in changes] == [
        (STEPS, "training.checkpoint_steps", 3, 5),
        (STEPS, "training.epochs", 1, 2),
        (STEPS, "training.validate_every", 1, 2),
        (2 * STEPS, "training.checkpoint_steps", 5, None),
        (2 * STEPS, "training.epochs", 2, 3),
        (2 * STEPS, "training.monitor", "rank-1", "mAP"),
        (2 * STEPS, "training.validate_every", 2, 1),
    ]
    assert not (tmp_path / "whole" / "changes.json").exists()


def test_another_rate_is_taken_up_on_request_and_recorded(tmp_path, capsys):
    constant = {"schedule": {"kind": "constant"}}
    lower = {"optimiser": {"lr": 1e-3, "weight_decay": 0.0}, **constant}
    run(tmp_path, epochs=1, optimiser={"lr": 1e-2}, **constant)
    with pytest.raises(
        CheckpointError, match=r"lr was 0\.01, is 0\.001.*--continue-with training\.optimiser\.lr=0\.001"
    ):
        run(tmp_path, epochs=2, **lower)
    run(tmp_path, epochs=2, continue_with=["training.optimiser.lr", "training.optimiser.weight_decay"], **lower)
    assert f"from step {STEPS} on: " in capsys.readouterr().err
    assert [row["lr"] for row in rows(tmp_path)] == pytest.approx([1e-2] * STEPS + [1e-3] * STEPS)
    facts = load_checkpoint(tmp_path / "last.safetensors").facts
    assert {change["key"]: change["now"] for change in facts["changes"]} == {
        "training.epochs": 2, "training.optimiser.lr": 1e-3, "training.optimiser.weight_decay": 0.0,
    }  # fmt: skip
    assert facts["groups"][0]["weight_decay"] == 0.0
    before = weights(tmp_path)
    run(tmp_path, epochs=2, **lower)
    assert same(before, weights(tmp_path)), "from here on it is the run's own"
    run(tmp_path, epochs=3, **lower)
    assert [row["lr"] for row in rows(tmp_path)][-1] == pytest.approx(1e-3)


def test_a_finished_run_says_what_it_does_not_take_up(tmp_path, capsys):
    run(tmp_path, epochs=2)
    before = (tmp_path / "last.safetensors").read_bytes()
    assert run(tmp_path, epochs=1, checkpoint_steps=4).steps == 2 * STEPS
    assert (tmp_path / "last.safetensors").read_bytes() == before
    shown = " ".join(capsys.readouterr().err.split())
    assert "is finished, so this has no effect: training.checkpoint_steps was None, is 4; training.epochs" in shown


def test_a_run_of_before_a_key_was_there_goes_on_with_its_default(tmp_path):
    run(tmp_path, epochs=1)
    last = tmp_path / "last.safetensors"
    stored = load_checkpoint(last)
    recipe = {
        "training": {
            k: v for k, v in stored.facts["recipe"]["training"].items() if k not in ("freeze", "unfreeze_after")
        }
    }
    save_checkpoint(last, Checkpoint(stored.tensors, stored.facts | {"recipe": recipe}))
    with pytest.raises(CheckpointError, match=r"freeze was \[\], is \['backbone'\]"):
        run(tmp_path, epochs=2, freeze=["backbone"])
    run(tmp_path, epochs=2)
    assert {c["key"] for c in load_checkpoint(last).facts["changes"]} == {"training.epochs"}


def test_a_run_goes_on_in_another_precision_and_with_frozen_layers_on_request(tmp_path):
    run(tmp_path, epochs=1, precision="bf16-mixed")
    with pytest.raises(
        CheckpointError, match=r"--continue-with training\.freeze=\['backbone'\] --continue-with training\.precision="
    ):
        run(tmp_path, epochs=2, freeze=["backbone"])
    before = weights(tmp_path)
    run(tmp_path, epochs=2, freeze=["backbone"], continue_with=["training.precision", "training.freeze"])
    after = weights(tmp_path)
    assert {name for name in before if torch.equal(before[name], after[name])} == {
        name for name in before if name.startswith("encoder.")
    }
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


@pytest.fixture
def ahead(monkeypatch):
    """A function that lets runs be so many steps ahead of the losses that they read, as on a GPU."""
    return lambda steps: monkeypatch.setattr(state, "ahead_on", lambda device: steps)


def without_speed(out):
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows(out)]


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_losses_read_later_are_logged_as_if_they_were_read_at_once(tmp_path, ahead, steps):
    options = {"epochs": 2, "checkpoint_steps": 3, "clip": 1.0, "ema": 0.9, "validate": lambda method: {"rank-1": 0.5}}
    at_once = run(tmp_path / "at once", **options)
    ahead(steps)
    later = run(tmp_path / "later", **options)
    assert later == at_once
    assert without_speed(tmp_path / "later") == without_speed(tmp_path / "at once")
    assert all(row["images_per_second"] > 0 for row in rows(tmp_path / "later") if "losses" in row)
    for kind in ("model", "ema", "optimiser"):
        assert same(weights(tmp_path / "later", kind), weights(tmp_path / "at once", kind))
    facts = [load_checkpoint(tmp_path / name / "last.safetensors").facts["losses"] for name in ("later", "at once")]
    assert facts[0] == facts[1] == rows(tmp_path / "later")[-2]["losses"]


class Spoilt(Small):
    """Gives a term that is not a number at step `at`, or an error at step `fails`."""

    def __init__(self, at, fails=None):
        super().__init__()
        self.at, self.fails, self.count = at, fails, 0

    def losses(self, batch):
        terms = super().losses(batch)
        self.count += 1
        if self.count - 1 == self.fails:
            raise KeyError("no such thing")
        return {**terms, "ranking": terms["ranking"] * (float("nan") if self.count - 1 == self.at else 1)}


@pytest.mark.parametrize("steps", [0, 1, 3, 50])
@pytest.mark.parametrize(
    ("at", "every", "kept"), [(10, None, 8), (11, 4, 8), (15, 4, 12), (23, None, 16), (2, None, None)]
)
def test_a_loss_that_is_not_finite_stops_the_run_by_its_own_step_and_is_in_no_checkpoint(
    tmp_path, ahead, steps, at, every, kept
):
    """Also where it is the last before a checkpoint is due, or the last of all."""
    ahead(steps)
    with pytest.raises(NonFiniteLoss, match=f"loss ranking is not finite at step {at} "):
        run(tmp_path, method=Spoilt(at), checkpoint_steps=every)
    last = tmp_path / "last.safetensors"
    if kept is None:
        assert not last.is_file()
    else:
        facts, stored = load_checkpoint(last).facts, load_checkpoint(last).tensors["model"]
        assert facts["step"] == kept
        assert all(tensor.isfinite().all() for tensor in stored.values())
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, at + 1)), "all steps before it are logged"


def test_an_error_that_a_loss_before_it_explains_is_told_by_that(tmp_path, ahead):
    ahead(3)
    with pytest.raises(NonFiniteLoss, match="not finite at step 4") as caught:
        run(tmp_path / "explained", method=Spoilt(4, fails=6))
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(KeyError, match="no such thing"):
        run(tmp_path / "unexplained", method=Spoilt(None, fails=6))
    assert [row["step"] for row in rows(tmp_path / "unexplained")] == list(range(1, 7))


def test_a_run_that_is_interrupted_loses_no_loss_that_was_not_read_yet(tmp_path, ahead):
    class Interrupting(Small):
        def losses(self, batch):
            self.count = getattr(self, "count", 0) + 1
            if self.count == 5:
                signal.raise_signal(signal.SIGTERM)
            return super().losses(batch)

    ahead(3)
    with pytest.raises(Interrupted):
        run(tmp_path, method=Interrupting())
    assert load_checkpoint(tmp_path / "last.safetensors").facts["step"] == 5
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("steps", [0, 3])
def test_a_gradient_that_is_not_finite_stops_a_run_that_clips_it(tmp_path, ahead, steps):
    """The square root has no gradient at 0, though its value is finite."""

    class Rooted(Small):
        def losses(self, batch):
            terms = super().losses(batch)
            self.count = getattr(self, "count", 0) + 1
            zero = (self.classifier.weight * (0.0 if self.count == 11 else 1.0)).square().sum()
            return {**terms, "rooted": 1e-3 * zero.sqrt()}

    ahead(steps)
    with pytest.raises(NonFiniteLoss, match=r"^the gradient's norm is not finite at step 10 "):
        run(tmp_path, method=Rooted(), clip=1.0)
    facts = load_checkpoint(tmp_path / "last.safetensors")
    assert facts.facts["step"] == STEPS
    assert all(tensor.isfinite().all() for tensor in facts.tensors["model"].values())


def test_a_run_computes_products_as_it_is_told_and_may_change_that_on_request(tmp_path):
    class Asked(Small):
        def losses(self, batch):
            found.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.conv.fp32_precision))
            return super().losses(batch)

    before, found = torch.get_float32_matmul_precision(), []
    run(tmp_path, epochs=1, method=Asked(), matmul_precision="highest")
    with pytest.raises(CheckpointError, match=r"--continue-with training\.matmul_precision=high"):
        run(tmp_path, epochs=2, method=Asked(), matmul_precision="high")
    run(tmp_path, epochs=2, method=Asked(), matmul_precision="high", continue_with=["training.matmul_precision"])
    assert found == [("highest", "ieee")] * STEPS + [("high", "tf32")] * STEPS
    assert torch.get_float32_matmul_precision() == before
    facts = load_checkpoint(tmp_path / "last.safetensors").facts
    assert facts["recipe"]["training"]["matmul_precision"] == "high"
    assert "training.matmul_precision" in {change["key"] for change in facts["changes"]}
