"""The log of a run: metrics.jsonl and TensorBoard events.

metrics.jsonl has one JSON object per line: training rows {"step", "epoch", "losses", "total", "lr", "images_per_second"}
and validation rows {"step", "epoch", "validation"}. Rows are held back until a checkpoint is written and the file is
cut to the checkpoint's step on resuming, so that no step is there twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from crossreid.files import json_rows, write_text


class Tracker:
    """Writes rows after `step` into the folder `out`; rows of later steps that are there already are dropped."""

    def __init__(self, out: Path, step: int) -> None:
        self.path = out / "metrics.jsonl"
        self._rows: list[str] = []
        self._cut(step)
        self._events = SummaryWriter(
            str(out / "tensorboard"), purge_step=step + 1 if step else None, max_queue=1000, flush_secs=60
        )

    def train(self, row: dict[str, Any]) -> None:
        """Add the row of a training step."""
        self._rows.append(json.dumps(row))
        for name, value in row["losses"].items():
            self._events.add_scalar(f"loss/{name}", value, row["step"])
        for name in ("total", "lr", "images_per_second"):
            self._events.add_scalar(f"train/{name}", row[name], row["step"])

    def validation(self, row: dict[str, Any]) -> None:
        """Add the row of a validation."""
        self._rows.append(json.dumps(row))
        for name, value in row["validation"].items():
            self._events.add_scalar(f"validation/{name}", value, row["step"])

    def flush(self) -> None:
        """Write the rows that were held back, so that they survive a power cut."""
        if self._rows:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write("".join(f"{row}\n" for row in self._rows))
                stream.flush()
                os.fsync(stream.fileno())
        self._rows.clear()

    def close(self) -> None:
        self.flush()
        self._events.close()

    def _cut(self, step: int) -> None:
        """Keep the whole rows up to `step`; a killed run may have written later ones, or half a line."""
        if not self.path.is_file():
            return
        rows = (row for row in json_rows(self.path) if isinstance(row.get("step"), int))
        write_text(self.path, "".join(f"{json.dumps(row)}\n" for row in rows if row["step"] <= step))
