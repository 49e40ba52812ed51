"""Processes for tests that kill or stop one: forks of this one, which has torch already, so that none pays for its imports.

What runs in them is the real thing, and so are the signals that they get.
"""

import multiprocessing
import os
import sys
from pathlib import Path

import torch


class Forked:
    """`function(*arguments)` in a process of its own; `log` takes what it writes to both outputs."""

    def __init__(self, function, *arguments, log=None):
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_main, args=(function, arguments, log))
        self._process.start()

    def poll(self):
        """None while it runs, then its status; -N of signal N."""
        return self._process.exitcode

    returncode = property(poll)

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
        function(*arguments)


def fork_runs(monkeypatch):
    """From now on a study forks its runs. tests/studies/test_running.py starts them as a study does, as processes of their own."""
    from crossreid.studies import running

    def start(job, environment):
        return Forked(_one_run, running.write_recipe(job), environment, log=job.log)

    monkeypatch.setattr(running, "start", start)


def _one_run(arguments, environment):
    from crossreid.studies.one_run import main

    os.setsid()
    os.environ.update(environment)
    reading, _held_open = os.pipe()
    os.dup2(reading, 0)  # the end of its input would be the end of the study
    main(arguments)


def command(*arguments):
    """The command line as its own process runs it, for `Forked`."""
    from crossreid.cli.app import main

    sys.argv = ["crossreid", *map(str, arguments)]
    main()


def text_of(log):
    return Path(log).read_text(encoding="utf-8")
