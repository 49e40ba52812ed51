"""What is done to runs: two at once, kills at the worst moment, damaged files, full disks. Nothing is lost, nothing silently wrong."""

import contextlib
import random
import signal
import time

import pytest
import torch

import small_run
from crossreid.cli.app import main
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.files import NoSpace
from crossreid.inference.open_model import open_model
from crossreid.runs.recipe import load_recipe, make_recipe
from crossreid.training.checkpoint import UNFINISHED, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from crossreid.training.folder import LOCK
from forked import Forked, command, fork_together, text_of
from hostile_files import BAD_FACTS, BAD_LOG_LINES, flip_byte, parts_of, rewrite, small_disk
from small_model import recipe_of, write_run
from small_run import STEPS, run


def weights(out):
    return load_checkpoint(out / "last.safetensors").tensors["model"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def wait_for(found, seconds=60):
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def ended(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    synthesise(place / "world", "manifest", 6, 0, images_per_camera=2, size=(32, 16), workers=1)
    data = {"name": "manifest", "root": str(place / "world"), "height": 32, "width": 16, "workers": 1}
    data["sampler"] = {"identities": 2, "images": 2}
    network = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    (place / "x.yaml").write_text(make_recipe({"data": data, "method": network, "training": {"epochs": 2}}).as_yaml())
    return place / "x.yaml"


def test_of_two_trainings_in_one_folder_the_second_is_refused_and_the_first_is_whole(recipe_file, tmp_path, capsys):
    out = tmp_path / "run"
    first = Forked(command, "train", recipe_file, "--out", out, "--set", "training.seed=5", log=tmp_path / "log")
    wait_for(lambda: (out / LOCK).is_file() and (out / LOCK).read_text())  # who holds it writes so
    first.send_signal(signal.SIGSTOP)
    assert ended("train", recipe_file, "--out", out) == 2
    shown = capsys.readouterr().err
    assert f"{out} is being trained by process {first._process.pid} on " in " ".join(shown.split())
    assert "Traceback" not in shown
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0, text_of(tmp_path / "log")
    assert load_recipe(out / "recipe.yaml").training.seed == 5
    assert load_checkpoint(out / "last.safetensors").facts["recipe"]["training"]["seed"] == 5
    assert not (out / LOCK).exists()


def test_a_killed_training_holds_nobody_though_its_loaders_outlive_it(recipe_file, tmp_path, capsys):
    out = tmp_path / "run"
    first = Forked(
        command, "train", recipe_file, "--out", out, "--set", "training.checkpoint_steps=1", log=tmp_path / "log"
    )
    wait_for((out / "last.safetensors").exists)
    first.send_signal(signal.SIGKILL)
    wait_for(lambda: first.poll() is not None)  # of it alone: its loaders end by themselves, seconds later
    assert (out / LOCK).exists()
    assert ended("train", recipe_file, "--out", out, "--set", "training.checkpoint_steps=1") == 0
    assert "run finished" in capsys.readouterr().out


def large_checkpoint(out):
    save_checkpoint(out / "last.safetensors", Checkpoint({"model": {"a": torch.zeros(20_000_000)}}, {}))


def test_a_kill_while_a_checkpoint_is_written_leaves_nothing_behind_after_the_next_start(tmp_path):
    def unfinished():
        return [path for path in tmp_path.iterdir() if UNFINISHED.fullmatch(path.name)]

    for _ in range(20):
        writer = Forked(large_checkpoint, tmp_path)
        wait_for(lambda writer=writer: unfinished() or writer.poll() is not None)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        if unfinished():
            break
    assert unfinished(), "the kill never came while safetensors wrote"
    (tmp_path / "last.safetensors").unlink(missing_ok=True)
    run(tmp_path, epochs=1)
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors", "metrics.jsonl", "tensorboard"}


def test_a_damaged_log_keeps_no_run_from_going_on(tmp_path, capsys):
    run(tmp_path / "whole", epochs=2)
    run(tmp_path / "damaged", epochs=1)
    log = tmp_path / "damaged" / "metrics.jsonl"
    lines = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([*lines[:2], *BAD_LOG_LINES.values(), *lines[2:]]) + b"\n")
    run(tmp_path / "damaged", epochs=2)
    assert f"{len(BAD_LOG_LINES)} lines cannot be read" in capsys.readouterr().err
    assert len(log.read_bytes().splitlines()) == 2 * STEPS
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "damaged"))


@pytest.fixture
def begun(tmp_path):
    """A run of one epoch, whose every part is there."""
    run(tmp_path, epochs=1, ema=0.5)
    return tmp_path / "last.safetensors"


def go_on(last):
    run(last.parent, epochs=2, ema=0.5)


def test_no_byte_of_a_checkpoint_changes_unseen(begun):
    whole = begun.read_bytes()
    moments = random.Random(1)
    for position in sorted(moments.randrange(len(whole)) for _ in range(150)):
        begun.write_bytes(whole)
        flip_byte(begun, position)
        with pytest.raises(CheckpointError, match=r"is damaged|is not a checkpoint of this program"):
            load_checkpoint(begun)
    with pytest.raises(CheckpointError):
        go_on(begun)
    begun.write_bytes(whole)
    go_on(begun)


@pytest.mark.parametrize("fact", sorted(BAD_FACTS.keys() - {"versions", "changes"}))
def test_facts_of_a_wrong_type_are_a_message(begun, fact):
    """Also where no hash gives them away, as an earlier state of 0.1.0 wrote none."""
    rewrite(begun, hashed=False)
    whole = begun.read_bytes()
    for value in BAD_FACTS[fact]:
        begun.write_bytes(whole)
        if (fact, value) in (("best", None), ("scaler", None)):
            continue
        rewrite(begun, facts={fact: value}, hashed=False)
        with pytest.raises(CheckpointError, match=r"last\.safetensors (is damaged|belongs to another recipe)"):
            go_on(begun)


def test_so_are_tensors_of_another_type_or_shape(begun):
    rewrite(begun, hashed=False)
    whole, tensors = begun.read_bytes(), parts_of(begun)[0]
    for name in tensors:
        if name.endswith("/step") or tensors[name].ndim == 0:
            continue
        for wrong in (tensors[name].flatten()[1:].clone(), tensors[name].to(torch.int32)):
            begun.write_bytes(whole)
            rewrite(begun, tensors={name: wrong}, hashed=False)
            with pytest.raises(CheckpointError, match=r"is damaged|does not fit the method"):
                go_on(begun)


def test_a_checkpoint_that_was_written_without_hashes_goes_on_to_the_same_bits(begun, tmp_path):
    rewrite(begun, hashed=False)
    go_on(begun)
    run(tmp_path / "whole", epochs=2, ema=0.5)
    assert same(weights(begun.parent), weights(tmp_path / "whole"))


def test_a_model_of_a_damaged_run_is_not_opened(tmp_path):
    write_run(tmp_path / "run", recipe_of())
    last = tmp_path / "run" / "last.safetensors"
    open_model(tmp_path / "run")
    flip_byte(last, -100)
    with pytest.raises(
        CheckpointError, match=r"last\.safetensors is damaged \(tensor model/.*: not what was written\)"
    ):
        open_model(tmp_path / "run")


def fill(path):
    """Take all the space that there is."""
    with open(path, "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def test_a_full_disk_is_a_line_and_the_same_command_goes_on_from_there(tmp_path, capsys):
    run(tmp_path / "whole", epochs=3)
    with small_disk(tmp_path / "disk", 300) as disk:
        run(disk / "run", epochs=1)
        before = (disk / "run" / "last.safetensors").read_bytes()
        fill(disk / "filler")
        with pytest.raises(
            NoSpace, match=r"run/.* cannot be written: no space left on device\. .*Free some space"
        ) as found:
            run(disk / "run", epochs=3)
        assert isinstance(found.value, CrossreidError)
        assert (disk / "run" / "last.safetensors").read_bytes() == before
        (disk / "filler").unlink()
        run(disk / "run", epochs=3)
        assert same(weights(disk / "run"), weights(tmp_path / "whole"))
        assert len((disk / "run" / "metrics.jsonl").read_bytes().splitlines()) == 3 * STEPS
    assert "Traceback" not in capsys.readouterr().err


def test_commands_name_the_file_that_a_full_disk_refuses(recipe_file, tmp_path, capsys):
    write_run(tmp_path / "model", recipe_of(size=(32, 16)))
    world = load_recipe(recipe_file).data.root
    with small_disk(tmp_path / "disk", 48) as disk:
        for arguments, named in (
            (("train", recipe_file, "--out", disk / "run"), r"run/"),
            (("embed", tmp_path / "model", world, "--out", disk / "embedded", "--workers", "0"), "embedded/"),
            (("synth", disk / "world", "--layout", "manifest", "--identities", "6", "--size", "64x32"), "world"),
            (("export", tmp_path / "model", "--out", disk / "x.onnx"), "x.onnx"),
        ):
            assert ended(*arguments) == 2, arguments
            shown = " ".join(capsys.readouterr().err.split())
            assert f"crossreid: {disk}/{named}" in shown
            assert "cannot be written: no space left on device" in shown
            assert "Traceback" not in shown
            assert sum(path.stat().st_size for path in disk.rglob("*") if path.is_file()) < 48_000


@pytest.mark.slow
def test_of_several_processes_all_are_refused_where_the_first_is(tmp_path):
    """None of them is left waiting for the first."""
    holder = Forked(small_run.one_of, "lasting", tmp_path)
    wait_for(lambda: (tmp_path / LOCK).is_file() and (tmp_path / LOCK).read_text())  # who holds it writes so
    holder.send_signal(signal.SIGSTOP)
    (tmp_path / "logs").mkdir()
    try:
        running, logs = fork_together(2, small_run.one_of, "plain", tmp_path, folder=tmp_path / "logs")
        statuses = [process.wait(120) for process in running]
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert statuses == [1, 1]
    assert all("RunLocked: " in text_of(log) for log in logs)
