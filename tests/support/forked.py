"""Processes for tests that kill or stop one: forks of this one, which has torch already, so that none pays for its imports.

What runs in them is the real thing, and so are the signals that they get.
"""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from functools import cache
from pathlib import Path

import numpy as np
import torch


class Forked:
    """`function(*arguments)` in a process of its own; `log` takes what it writes to both outputs."""

    def __init__(self, function, *arguments, log=None):
        if log is not None:
            open(log, "w").close()  # whoever reads it may be sooner than the process
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_main, args=(function, arguments, log))
        self._process.start()

    def poll(self):
        """None while it runs, then its status; -N of signal N."""
        return self._process.exitcode

    returncode = property(poll)

    @property
    def pid(self):
        return self._process.pid

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def wait(self, timeout=60):
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still running after {timeout} seconds"
        return self._process.exitcode


def _main(function, arguments, log):
    torch.set_num_threads(1)  # threads that this process had are not there in a fork
    with open(log or os.devnull, "w", encoding="utf-8", buffering=1) as stream:
        sys.stdout = sys.stderr = stream
        logging.getLogger().handlers.clear()  # pytest's, which would keep to itself what this process says
        try:
            function(*arguments)
        except Exception:  # here, while the log is open, and as the interpreter would
            traceback.print_exc()
            sys.exit(1)


def forget_modules(*packages):
    """In a fork: these packages are imported anew, as in a process that begins, but with all that they import at hand.

    One stays: torch takes an operator once in a process.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        if name != "crossreid.losses.transport":
            del sys.modules[name]


def fork_together(count, function, *arguments, folder):
    """So many processes of a job, with the environment that torchrun gives them; returns them and their logs in `folder`.

    `ran_by_torchrun` has torchrun itself start them, which takes longer.
    """
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    shared = {
        "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": 1,
    }  # fmt: skip
    logs = [Path(folder) / f"log-{rank}" for rank in range(count)]
    running = [
        Forked(_with_environment, {**shared, "RANK": rank, "LOCAL_RANK": rank}, function, *arguments, log=log)
        for rank, log in enumerate(logs)
    ]
    return running, logs


def ran_together(count, function, *arguments, folder):
    """What each of so many processes of one job wrote, all of which ended well."""
    running, logs = fork_together(count, function, *arguments, folder=folder)
    assert [process.wait(200) for process in running] == [0] * count, "\n".join(map(text_of, logs))
    return [text_of(log) for log in logs]


def ran_by_torchrun(words, folder):
    """What each process of `torchrun ... -m crossreid ...` wrote, all of which ended well.

    torchrun's own agent reads the words, gives the processes their environment and watches them. Only in place of the
    `python -m crossreid` that it would start they are forks.
    """
    logs = Path(folder)
    agent = Forked(_torchrun, words, folder, log=logs / "agent")
    assert agent.wait(300) == 0, "\n".join(map(text_of, sorted(logs.iterdir())))
    return [text_of(log) for log in sorted(logs.glob("log-*"))]


def _torchrun(words, folder):
    from torch.distributed import run
    from torch.distributed.launcher.api import elastic_launch

    def launch(config, entrypoint):
        def launched(*arguments):
            assert (entrypoint, *arguments[:3]) == (sys.executable, "-u", "-m", "crossreid")
            return elastic_launch(config, _of_torchrun)(folder, *arguments[3:])

        return launched

    run.elastic_launch = launch
    run.main(["--start-method", "fork", *words])


def _of_torchrun(folder, *words):
    try:
        _main(command, words, Path(folder) / f"log-{os.environ['RANK']}")
    except SystemExit as ended:  # as the command ends; a function is to return
        if ended.code:
            raise


def _with_environment(environment, function, *arguments):
    os.environ.update({name: str(value) for name, value in environment.items()})
    function(*arguments)


def fork_runs(monkeypatch, *, unless=lambda job: False):
    """From now on a study forks its runs, `unless` a job is to be started as a study does: as a process of its own.

    tests/studies/test_running.py does both.
    """
    from crossreid.studies import running

    ready_for_runs()
    start_anew = running.start

    def start(job, environment):
        if unless(job):
            return start_anew(job, environment)
        return Forked(_one_run, running.write_recipe(job), environment, log=job.log)

    monkeypatch.setattr(running, "start", start)


@cache
def ready_for_runs():
    """What every run would import and load by itself, the compiled ranking among it, once and for all of them."""
    import crossreid.studies.one_run  # noqa: F401
    from crossreid.data.catalogue import DATASETS
    from crossreid.evaluation.ranking import rank_embeddings
    from crossreid.methods.method import METHODS
    from crossreid.models.backbone_registry import BACKBONES

    for registry in (DATASETS, METHODS, BACKBONES):
        registry.load()
    rank_embeddings(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), np.arange(2), np.arange(2))


def _one_run(arguments, environment):
    os.setsid()
    os.environ.update(environment)
    reading, _held_open = os.pipe()
    one_run(arguments, reading)  # the end of its input would be the end of the study


def one_run(arguments, standard_input):
    """A run of a study as its own process does it, for `Forked`."""
    from crossreid.studies.one_run import main

    os.dup2(standard_input, 0)
    main(arguments)


def command(*arguments):
    """The command line as its own process runs it, for `Forked`."""
    from crossreid.cli.app import main

    sys.argv = ["crossreid", *map(str, arguments)]
    main()


def killed_after(checkpoint, function, *arguments):
    """For `Forked`: the function in a process that is killed as soon as it has written this checkpoint."""
    from crossreid.training import folder

    write = folder.save_checkpoint

    def write_and_die(path, content):
        write(path, content)
        if path == checkpoint:
            os.kill(os.getpid(), signal.SIGKILL)

    folder.save_checkpoint = write_and_die
    function(*arguments)


def text_of(log):
    return Path(log).read_text(encoding="utf-8")
