"""The database's facts about the whole gallery: its model, how it is searched, and which index file is served."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.galleries.errors import damaged
from crossreid.galleries.gallery import NOTES
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.local.database import Database
from crossreid.galleries.local.index_file import about_of


def new_facts(model: str, dimension: int, options: IndexOptions) -> dict[str, str]:
    """The facts of a new gallery."""
    return {
        "gallery": uuid.uuid4().hex, "model": model, "dimension": str(dimension), "index": options.to_json(), "deleted": "0",
    }  # fmt: skip


class Facts:
    """The facts of an open database: `model`, `dimension`, `options` and `uuid` at the time of opening.

    Raises `GalleryFault` if one of them is missing or invalid.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        told = dict(database.read("SELECT key, value FROM meta"))
        try:
            self.model, self.uuid, self.dimension = told["model"], told["gallery"], int(told["dimension"])
            self.options = IndexOptions.from_json(told["index"])
            if self.dimension < 1:
                raise CrossreidError(f"dimension {self.dimension}")
        except KeyError as error:
            raise damaged(database.path, f"it does not say its {error.args[0]}") from error
        except (TypeError, ValueError) as error:
            raise damaged(database.path, error) from error

    def deleted(self) -> int:
        """The number of entries deleted or replaced since the last compaction."""
        found = self._database.read("SELECT value FROM meta WHERE key = 'deleted'")
        return self._database.whole_number(found[0][0] if found else None, "how much was deleted")

    @staticmethod
    def count_deleted(writer: sqlite3.Connection, count: int) -> None:
        """Count entries as deleted, within the transaction that deletes them."""
        if count:
            writer.execute("UPDATE meta SET value = value + ? WHERE key = 'deleted'", (count,))

    def forget_deleted(self, count: int) -> None:
        """Record that the traces of this many deleted entries are gone."""
        with self._database.transaction() as writer:
            writer.execute("UPDATE meta SET value = value - ? WHERE key = 'deleted'", (count,))

    def name_index(self, options: IndexOptions, about: dict[str, Any] | None) -> None:
        """Record how the gallery is searched, and which index file is served, in one transaction."""
        rows = [("index", options.to_json())]
        if about is not None:
            rows.append(("index_file", json.dumps(about)))
        with self._database.transaction() as writer:
            writer.execute("DELETE FROM meta WHERE key = 'index_file'")
            writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def notes(self) -> dict[str, str]:
        """The stored values about the model that embeds, if any, by the names of `NOTES`."""
        marks = ", ".join("?" * len(NOTES))
        found = self._database.read(f"SELECT key, value FROM meta WHERE key IN ({marks})", NOTES)
        return {key: str(value) for key, value in found}

    def note(self, values: Mapping[str, str | None]) -> None:
        """Store these instead; None removes one."""
        with self._database.transaction() as writer:
            writer.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in values])
            rows = [(key, value) for key, value in values.items() if value is not None]
            writer.executemany("INSERT INTO meta VALUES (?, ?)", rows)

    def index_file(self) -> dict[str, Any] | None:
        """The description of the index file passed to `name_index`."""
        found = self._database.read("SELECT value FROM meta WHERE key = 'index_file'")
        try:
            return about_of(found[0][0]) if found else None
        except CrossreidError as error:
            raise damaged(self._database.path, error) from error
