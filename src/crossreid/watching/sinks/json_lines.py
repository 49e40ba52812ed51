"""`events.jsonl`: each event as a JSON object on a line."""

from __future__ import annotations

from pathlib import Path

from crossreid.watching.events import Event
from crossreid.watching.sinks.line_files import LineFile


class JsonLines(LineFile):
    """Raises what `LineFile` raises."""

    name = "jsonl"

    def __init__(self, path: Path) -> None:
        super().__init__(path, Event.to_json, lambda line: Event.from_json(line).number)
