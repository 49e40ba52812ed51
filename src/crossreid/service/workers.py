"""Several processes that serve one gallery on one port: `crossreid serve --workers N`.

The process that was started holds the state folder and the socket, and serves nothing itself. It starts the workers, each of
which opens the model and the gallery (forked processes would share torch's threads, which do not survive a fork); restarts
those that end; and passes on the signal to stop. All share one socket: connections not accepted yet outlive a worker.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from crossreid import files
from crossreid.errors import CrossreidError
from crossreid.galleries.location import is_cluster
from crossreid.inference.engines.names import FASTEST
from crossreid.service.endpoint import listening_at
from crossreid.service.shared_memory import MOST_WORKERS, SharedMemory
from crossreid.service.siblings import lock_state, prepare
from crossreid.service.startup import Serving, known_keys, refuse_open_door, refuse_without_extra
from crossreid.service.worker import FAILED, READY, work

_ENDING = 15.0  # seconds for all workers to stop; they themselves wait ten for running requests
_SOON, _LATEST = 0.5, 30.0  # seconds until an ended worker is restarted: doubled each time it ends early
_EARLY = 60.0  # seconds
_log = logging.getLogger("crossreid.service")


def refuse_several(gallery: str, count: int) -> None:
    """Raise `CrossreidError` if a gallery cannot be open for writing in that many processes."""
    if not 1 <= count <= MOST_WORKERS:
        raise CrossreidError(f"--workers {count}: expected 1 to {MOST_WORKERS}.")
    if count > 1 and not is_cluster(gallery):
        raise CrossreidError(
            f"--workers {count}: {gallery} has one writer, like every gallery in a folder or .db file. Copy it to a Milvus cluster "
            "(crossreid gallery snapshot, then restore) and name its address, or leave --workers out."
        )


def serve_by_workers(serving: Serving, count: int, say: Callable[[str], Any] = print) -> None:
    """Serve with `count` processes until stopped. Raises `CrossreidError` as `startup.serve`, and as `refuse_several`."""
    refuse_several(serving.gallery, count)
    if count > 1 and serving.engine == FASTEST:
        raise CrossreidError(
            f"--engine {FASTEST} --workers {count}: the workers' measurements would disturb each other. Name the engine one worker "
            "chooses."
        )
    refuse_without_extra()
    refuse_open_door(serving.endpoint, serving.keys, serving.insecure)
    known_keys(serving)
    state = serving.options.state
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(listening_at(serving.endpoint))
        lock = lock_state(state)
        stack.callback(files.unlock, lock)
        memory = prepare(state, serving.options.in_flight)
        _Workers(serving, count, listening, memory, say).run()


@dataclass
class _Worker:
    """A process, its messages, and when it was started; `ready` once it serves."""

    process: SpawnProcess
    told: Connection
    started: float
    ready: bool = False


class _Workers:
    """All workers of a service. `run` returns when they have ended."""

    def __init__(
        self, serving: Serving, count: int, listening: socket.socket, memory: SharedMemory, say: Callable[[str], Any]
    ) -> None:
        self._serving, self._count, self._listening, self._memory, self._say = serving, count, listening, memory, say
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[int, _Worker] = {}
        self._due: dict[int, float] = {}  # when each worker is due to start
        self._delay = dict.fromkeys(range(count), _SOON)
        self._begun = False  # all have been ready once
        self._signals: list[int] = []

    def run(self) -> None:
        """Start the first, the others once it serves, and supervise them. Raises `CrossreidError` if one cannot start at first."""
        with self._signalled() as woken:
            try:
                self._due[0] = 0.0  # one worker finds out what cannot be served, and creates a new gallery
                while not self._signals:
                    self._start_due()
                    self._look(woken)
            finally:
                self._end(woken)
        number = self._signals[0]
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        signal.raise_signal(number)  # as a service of one process ends

    def _start_due(self) -> None:
        for number in [number for number, at in self._due.items() if at <= time.monotonic()]:
            del self._due[number]
            told, theirs = self._context.Pipe()
            process = self._context.Process(
                target=work, args=(self._serving, number, self._count, self._listening, theirs), name=f"worker {number}"
            )
            process.start()
            theirs.close()
            self._running[number] = _Worker(process, told, time.monotonic())

    def _look(self, woken: int) -> None:
        """Wait for the next event and act on it."""
        due = min(self._due.values(), default=None)
        patience = None if due is None else max(0.0, due - time.monotonic())
        happened = wait([*self._waited_for(), woken], patience)
        for number, worker in list(self._running.items()):
            if worker.told in happened and (told := _received(worker.told)) is not None:
                self._hear(number, worker, *told)
            if worker.process.sentinel in happened:
                self._bury(number, worker)

    def _waited_for(self) -> Iterator[Any]:
        for worker in self._running.values():
            yield worker.process.sentinel
            if not worker.told.closed:
                yield worker.told

    def _hear(self, number: int, worker: _Worker, what: str, told: Any) -> None:
        if what == FAILED:
            if not self._begun:
                raise CrossreidError(told)
            _log.error("worker %d cannot serve: %s", number, told)
        elif what == READY:
            worker.ready = True
            if self._begun:
                _log.warning("worker %d (process %s) is serving", number, worker.process.pid)
                return
            if number == 0 and len(self._running) == 1:
                for line in told:
                    self._say(line)
                self._due.update(dict.fromkeys(range(1, self._count), 0.0))
            if sum(each.ready for each in self._running.values()) == self._count:
                self._begun = True
                self._say(f"serving {self._serving.endpoint.url} with {self._count} workers until Ctrl-C")

    def _bury(self, number: int, worker: _Worker) -> None:
        """Have a worker that ended restarted, and give back what it held."""
        worker.process.join()
        while (told := _received(worker.told)) is not None:
            self._hear(number, worker, *told)
        code, process = worker.process.exitcode, worker.process.pid
        del self._running[number]
        worker.told.close()
        self._forget(number, process)
        if self._signals:
            return
        if not self._begun and not worker.ready:
            raise CrossreidError(f"a worker ended with status {code} before it served; its last lines say why.")
        lived = time.monotonic() - worker.started
        self._delay[number] = min(_LATEST, 2 * self._delay[number]) if lived < _EARLY else _SOON
        _log.error("worker %d (process %d) ended with status %s; another is started", number, process, code)
        self._due[number] = time.monotonic() + self._delay[number]

    def _forget(self, number: int, process: int | None) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        self._memory.release(number)
        mark_process_dead(process, str(self._serving.options.state / "metrics"))

    def _end(self, woken: int) -> None:
        """Stop all workers; kill those that take too long, or all at once on a second signal."""
        self._listening.close()  # otherwise clients that nobody accepts any more would be kept waiting
        last, given = time.monotonic() + _ENDING, len(self._signals)
        for worker in self._running.values():
            worker.process.terminate()
        while self._running and time.monotonic() < last and len(self._signals) <= max(1, given):
            happened = wait(
                [*(each.process.sentinel for each in self._running.values()), woken], last - time.monotonic()
            )
            _drained(woken)
            for number, worker in list(self._running.items()):
                if worker.process.sentinel in happened:
                    worker.process.join()
                    del self._running[number]
        for worker in self._running.values():
            worker.process.kill()
            worker.process.join()

    @contextlib.contextmanager
    def _signalled(self) -> Iterator[int]:
        """Within the block, signals to stop are collected in a list; the yielded descriptor becomes readable after each."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)

        def keep(number: int, _frame: Any) -> None:
            self._signals.append(number)

        before = {number: signal.signal(number, keep) for number in (signal.SIGINT, signal.SIGTERM)}
        wakes = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wakes)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)


def _received(connection: Connection) -> tuple[str, Any] | None:
    """A worker's message, None if there are no more."""
    try:
        return connection.recv() if not connection.closed and connection.poll() else None
    except (EOFError, OSError):
        connection.close()
        return None


def _drained(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 64):
            pass
