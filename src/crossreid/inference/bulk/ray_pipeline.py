"""Embedding chunks on a Ray cluster: Ray Data moves batches through the functions here; this process writes the chunks.

Tasks on any machine read, decode and transform a batch of the plan; actors that each hold the model embed it. Its rows
come back to this process, which assembles chunks and writes them like its own. So the files, their order and resuming
after a kill are those of the plain job. Ray repeats what it loses with a worker. The run (and images that are files)
must have the same path on every machine; the weights are checked to be the same.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.images import CannotBeRead
from crossreid.data.records import DataError, Record
from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.inference.bulk.chunks import Chunk
from crossreid.inference.bulk.embedded_chunks import Report, Work, chunk_of
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.runs.preprocessing import Preprocessing

HERE: dict[str, Any] = {"include_dashboard": False}  # for a Ray started for the job
# No reports to Ray's makers, no progress bars; the default half minute to start is too short for a busy machine.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_raylet_start_wait_time_s": "180",
    "RAY_agent_register_timeout_ms": "180000", "RAY_BACKEND_LOG_LEVEL": "fatal",
}  # fmt: skip
_SHARE = 64  # most blocks per processor: Ray keeps a list of all tasks


@dataclass(frozen=True, eq=False, slots=True)
class Cluster:
    """The Ray that does a job: the one at an address, or one started for it. `open` opens the model on a machine."""

    open: Callable[[str | None], EmbeddingModel]
    address: str | None = None
    device: str | None = None

    def chunks(self, work: Work, report: Report) -> Generator[tuple[int, Chunk], None, None]:
        """Yield the remaining chunks as they are finished, in any order.

        Raises:
            DataError: an unreadable image, or a machine with a different model.
            CrossreidError: Ray is not installed, does not answer, or gives up; the message names its log.
        """
        with _connected(self.address) as ray:
            yield from _chunks(ray, self, work, report)


def _chunks(ray: Any, cluster: Cluster, work: Work, report: Report) -> Iterator[tuple[int, Chunk]]:
    batches = work.batches()
    left: dict[int, int] = defaultdict(int)
    for number, _ in batches:
        left[number] += 1
    found: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    for sent in _rows(ray, cluster, work, batches):
        row: dict[str, Any] = pickle.loads(sent["payload"])
        _refuse_failed(row)
        number = int(row["chunk"])
        found[number][int(row["first"])] = row
        report(len(row["positions"]) + len(row["bad"]))
        if len(found[number]) == left[number]:
            parts = [part for _, part in sorted(found.pop(number).items())]
            rows = [np.asarray(part["rows"], np.float32) for part in parts if len(part["positions"])]
            kept = [int(position) for part in parts for position in part["positions"]]
            yield number, chunk_of(work, number, rows, kept, [image for part in parts for image in part["bad"]])


def _rows(ray: Any, cluster: Cluster, work: Work, batches: list[tuple[int, range]]) -> Iterator[dict[str, Any]]:
    """Yield the result of each batch from the Ray Data pipeline of `_read` and `_Embed`."""
    from ray.data import ActorPoolStrategy

    there = ray.cluster_resources()
    gpus, processors = int(there.get("GPU", 0)), int(there.get("CPU", 1))
    if cluster.device is not None and cluster.device.startswith("cpu"):
        gpus = 0
    actors = gpus or max(1, processors // 2)
    seen = work.model.preprocessing
    items = _items(work, batches)
    data = ray.data.from_items(items, override_num_blocks=min(len(items), _SHARE * processors))
    read = data.map(_read, fn_kwargs={"seen": seen, "skip": work.skip}, num_cpus=0.5)
    embedded = read.map(
        _Embed, fn_constructor_args=(cluster.open, "cuda" if gpus else "cpu", work.plan.model, work.plan.precision),
        compute=ActorPoolStrategy(size=actors), num_cpus=0 if gpus else 0.5, **({"num_gpus": 1} if gpus else {}),
    )  # fmt: skip
    try:
        yield from embedded.iter_rows()
    except (KeyboardInterrupt, CrossreidError, GeneratorExit):
        raise
    except Exception as error:
        told = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise CrossreidError(
            f"Ray gave up the job: {told.strip()[:300]} Run the same command to resume from the last chunk. Its logs: {_logs(ray)}."
        ) from error


def _items(work: Work, batches: list[tuple[int, range]]) -> list[dict[str, bytes]]:
    """Return per batch its chunk and first position, by which rows are assembled, its positions and its records."""
    return [
        _sent(
            {"chunk": number, "first": positions[0], "batch": (list(positions), [work.records[p] for p in positions])}
        )
        for number, positions in batches
    ]


def _sent(row: dict[str, Any]) -> dict[str, bytes]:
    """Return a row as Ray Data moves it: pickled, as arrays of varying shape and our own classes fit no column."""
    return {"payload": pickle.dumps(row, protocol=5)}


def _read(sent: dict[str, bytes], *, seen: Preprocessing, skip: bool) -> dict[str, bytes]:
    """Decode and transform a batch; failures are returned in the row, as Ray would retry after an exception."""
    row: dict[str, Any] = pickle.loads(sent["payload"])
    positions, records = row.pop("batch")
    found: dict[str, Any] = {
        **row,
        "failed": "",
        "kind": "",
        "images": np.empty(0),
        "modalities": [],
        "positions": [],
        "bad": [],
    }
    try:
        (loaded,) = _loaded(records, seen, skip)
    except (CannotBeRead, DataError) as error:
        return _sent(found | {"failed": str(error), "kind": type(error).__name__})
    return _sent(found | {
        "images": loaded.images.numpy(), "modalities": loaded.modalities.tolist(),
        "positions": [positions[int(place)] for place in loaded.positions],
        "bad": [(positions[place], reason) for place, reason in loaded.bad],
    })  # fmt: skip


def _loaded(records: list[Record], seen: Preprocessing, skip: bool) -> Iterator[Any]:
    return planned_batches(
        records, [range(len(records))], height=seen.height, width=seen.width, interpolation=seen.interpolation,
        normalisation=seen.normalisation, skip=skip,
    )  # fmt: skip


class _Embed:
    """An actor: it opens the model once, and embeds batches."""

    def __init__(self, opened: Callable[[str | None], EmbeddingModel], device: str, model: str, precision: Any) -> None:
        self.failed = ""
        try:
            self.model = opened(device)
            if self.model.fingerprint != model:
                self.failed = (
                    f"{self.model.source} holds another model on a machine of the cluster. Copy it there again."
                )
            else:
                self.model.with_precision(precision)
        except CrossreidError as error:
            self.failed = f"a machine of the cluster cannot open the model: {error}"

    def __call__(self, sent: dict[str, bytes]) -> dict[str, bytes]:
        import torch

        row: dict[str, Any] = pickle.loads(sent["payload"])
        images, modalities = row.pop("images"), row.pop("modalities")
        if self.failed and not row["failed"]:
            row |= {"failed": self.failed, "kind": "CrossreidError"}
        rows = np.empty((0, 0), np.float32)
        if not row["failed"] and len(row["positions"]):
            rows = self.model.embed(torch.from_numpy(np.array(images)), torch.tensor(modalities)).numpy()
        return _sent({**row, "rows": rows})


def _refuse_failed(row: dict[str, Any]) -> None:
    if row["failed"]:
        kinds = {"CannotBeRead": CannotBeRead, "CrossreidError": CrossreidError}
        raise kinds.get(row["kind"], DataError)(row["failed"])


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Yield Ray, at an address or started for the block, without usage reports; its messages go only to its logs."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    needed("ray.data", "--engine ray")
    import ray

    started, at_sigterm = not ray.is_initialized(), signal.getsignal(signal.SIGTERM)
    if started:
        try:
            with _errors_away():
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.CRITICAL, **({} if address else HERE)
                )
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise CrossreidError(f"--ray-address {address or '(none)'}: Ray does not answer ({reason}).") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    _to_logs_alone()
    with redirect_stdout(_WithoutRay(sys.stdout)):  # type: ignore[type-var]
        try:
            yield ray
        finally:
            if started:
                with redirect_stdout(io.StringIO()):  # Ray prints held-back repeated lines from this thread
                    ray.shutdown()
                # Ray installs its own handler if it can.
                if at_sigterm is not None and threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, at_sigterm)


class _WithoutRay:
    """An output that drops what Ray's threads print, which is in Ray's logs too."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._output.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)


@contextmanager
def _errors_away() -> Iterator[None]:
    """Discard standard error, including that of native code: Ray's logs have the same messages."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _to_logs_alone() -> None:
    """Stop Ray's loggers from writing to the terminal; the handlers that write its files stay."""
    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _logs(ray: Any) -> str:
    try:
        return str(Path(ray._private.worker._global_node.get_session_dir_path()) / "logs")
    except (AttributeError, TypeError):
        return "on its head machine"
