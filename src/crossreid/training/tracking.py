"""The log of a run: metrics.jsonl and TensorBoard events.

metrics.jsonl has one JSON object per line: training rows {"step", "epoch", "losses", "total", "lr",
"images_per_second"} and validation rows {"step", "epoch", "validation"}. Rows are held back until a checkpoint is
written, and the file is cut to the checkpoint's step on resuming, so no step appears twice. Unreadable lines are left
out then, and counted.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from crossreid.files import json_rows, write_text, writing
from crossreid.terminal import errors


class Tracker:
    """Writes rows after `step` into the folder `out`; existing rows of later steps are dropped."""

    def __init__(self, out: Path, step: int) -> None:
        self.path, self.events = out / "metrics.jsonl", out / "tensorboard"
        self._rows: list[str] = []
        self._cut(step)
        self._hook = threading.excepthook
        threading.excepthook = self._from_thread
        purge = step + 1 if step else None
        try:
            with writing(self.events):
                self._events = SummaryWriter(str(self.events), purge_step=purge, max_queue=1000, flush_secs=60)
        except OSError:
            threading.excepthook = self._hook
            raise

    def train(self, row: dict[str, Any]) -> None:
        """Add the row of a training step."""
        self._rows.append(json.dumps(row))
        numbers = {f"loss/{name}": value for name, value in row["losses"].items()}
        self._scalars(
            row["step"], numbers | {f"train/{name}": row[name] for name in ("total", "lr", "images_per_second")}
        )

    def validation(self, row: dict[str, Any]) -> None:
        """Add the row of a validation."""
        self._rows.append(json.dumps(row))
        self._scalars(row["step"], {f"validation/{name}": value for name, value in row["validation"].items()})

    def flush(self) -> None:
        """Write the rows held back, so that they survive a power cut; all of them or none."""
        if self._rows:
            with writing(self.path), open(self.path, "ab", buffering=0) as stream:
                before = stream.seek(0, os.SEEK_END)
                try:
                    _write_all(stream.fileno(), "".join(f"{row}\n" for row in self._rows).encode())
                    os.fsync(stream.fileno())
                except OSError:
                    os.ftruncate(stream.fileno(), before)
                    raise
        self._rows.clear()

    def close(self) -> None:
        try:
            self.flush()
        finally:
            try:
                with writing(self.events):
                    self._events.close()
            finally:
                threading.excepthook = self._hook

    def _scalars(self, step: int, numbers: dict[str, float]) -> None:
        """Add all numbers of a step as one event, which is much faster than one event each."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        writer: Any = self._events.file_writer
        with writing(self.events):
            writer.add_summary(Summary(value=values), step)

    def _from_thread(self, arguments: Any) -> None:
        """TensorBoard's thread prints system errors, which the next event raises here, to be reported once."""
        if not (
            isinstance(arguments.exc_value, OSError) and type(arguments.thread).__module__.startswith("tensorboard")
        ):
            self._hook(arguments)

    def _cut(self, step: int) -> None:
        """Keep the complete rows up to `step`; a killed run may have written later ones, or half a line."""
        if not self.path.is_file():
            return
        rows = [row for row in json_rows(self.path) if type(row.get("step")) is int]
        unread = len(self.path.read_bytes().splitlines()) - len(rows)
        if unread:
            lines = "1 line cannot be read and is" if unread == 1 else f"{unread} lines cannot be read and are"
            errors.print(f"{self.path}: {lines} left out.", soft_wrap=True)
        write_text(self.path, "".join(f"{json.dumps(row)}\n" for row in rows if row["step"] <= step))


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
