"""The row that describes a Milvus gallery: its model, how it is searched, and which collection holds its entries.

It is in a separate collection, NAME_about, and is written last, so a partly created or rewritten gallery is not seen.
While a gallery is being restored, the row states that it is incomplete.

Processes that find no gallery and would create it first claim the right to: each writes its own row (`only_one`), and
continues if it then reads no other's. Of two at once, the later one reads the other's, as reads are strongly
consistent.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crossreid.galleries.errors import GalleryFault, another_format, damaged
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.milvus.connection import Connection

FORMAT = 2
_GONE = 60.0  # seconds after which the process behind another claim is considered dead, and the claim is removed
_LOADS = 40  # attempts, over ten seconds, to load a collection that another process may just be creating


@dataclass(frozen=True, slots=True)
class Description:
    """The content of the row; `entries` is the name of the collection of entries."""

    model: str
    dimension: int
    options: IndexOptions
    entries: str
    uuid: str
    restoring: bool


class About:
    """The row of the gallery NAME."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._gallery, self._name = connection, name, f"{name}_about"

    def read(self, consistency: str = "Strong") -> dict[str, Any] | None:
        """The content of the row, None if there is none. Raises `GalleryFault` if it is damaged."""
        text = self._row("about", consistency)
        if text is None:
            return None
        try:
            return dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise self._damaged(error) from error

    def calibration(self) -> str | None:
        """The text of the calibration, which has a separate row."""
        return self._row("calibration")

    def write_calibration(self, text: str | None) -> None:
        """Write that row; None removes it."""
        if text is not None:
            self._write_row("calibration", text)
            return
        self._remove(["calibration"])

    def index(self) -> IndexOptions | None:
        """The index options in the row, read much faster but possibly some seconds out of date."""
        found = self.read("Bounded") or {}
        return IndexOptions.from_json(found["index"]) if "index" in found else None

    def _row(self, key: str, consistency: str = "Strong") -> str | None:
        client = self._connection.client
        with self._connection.faults():
            if not client.has_collection(self._name):
                return None
            self._load()
            found = client.query(
                self._name, filter=f'key == "{key}"', output_fields=["text"], consistency_level=consistency
            )
        return None if not found else str(found[0]["text"])

    def _load(self) -> None:
        """Load the collection, even if another process is just creating it, or died doing so."""
        from pymilvus.exceptions import MilvusException

        client = self._connection.client
        for attempt in range(_LOADS):
            try:
                client.load_collection(self._name)
                return
            except MilvusException:
                if attempt == _LOADS - 1:
                    raise
                if attempt == _LOADS // 2 and not client.list_indexes(self._name):
                    client.create_index(self._name, _index(client))
                time.sleep(0.25)

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """Be the only process within this block for the gallery of this name; others wait until it ends.

        If a process dies within it, its claim delays the others for a minute.
        """
        own, seen = f"claim {uuid.uuid4().hex[:24]}", dict[str, float]()
        self._make()
        while True:
            self._write_row(own, "")
            others = [key for key in self._claims() if key != own]
            if not others:
                break
            self._remove([own])
            now = time.monotonic()
            self._remove([key for key in others if now - seen.setdefault(key, now) > _GONE])
            time.sleep(random.uniform(0.05, 0.5))  # so that two processes do not keep colliding
        try:
            yield
        finally:
            self._remove([own])

    def _claims(self) -> list[str]:
        with self._connection.faults():
            self._load()
            rows = self._connection.client.query(
                self._name, filter='key like "claim %"', output_fields=["key"], consistency_level="Strong"
            )
        return [str(row["key"]) for row in rows]

    def _remove(self, keys: list[str]) -> None:
        if keys:
            with self._connection.faults():
                self._connection.client.delete(self._name, ids=keys)

    def _make(self) -> None:
        """Create the collection if missing; of two processes that do so, one may be refused."""
        from pymilvus.exceptions import MilvusException

        client = self._connection.client
        with self._connection.faults():
            if client.has_collection(self._name):
                return
            try:
                _create(client, self._name)
            except MilvusException:
                for _ in range(_LOADS):  # until the other process's exists
                    if client.has_collection(self._name):
                        return
                    time.sleep(0.25)
                raise

    def _write_row(self, key: str, text: str) -> None:
        with self._connection.faults():
            row = {"key": key, "text": text, "unused": [0.0, 1.0]}
            self._connection.client.upsert(self._name, [row])

    def description(self) -> Description | None:
        """As `read`, validated. Raises `GalleryError` for another format."""
        found = self.read()
        if found is None:
            return None
        if found.get("format") != FORMAT:
            raise another_format(self._connection.location, found.get("format"), FORMAT)
        try:
            return Description(
                model=str(found["model"]),
                dimension=int(found["dimension"]),
                options=IndexOptions.from_json(found["index"]),
                entries=str(found["entries"]),
                uuid=str(found.get("gallery", f"{self._connection.location} {self._gallery}")),
                restoring="restoring" in found,
            )
        except KeyError as error:
            raise self._damaged(f"it does not say its {error.args[0]}") from error
        except (TypeError, ValueError) as error:
            raise self._damaged(error) from error

    def write_new(self, description: Description) -> None:
        """Write the row of a new gallery, and create its collection if missing."""
        self._make()
        about = {
            "format": FORMAT, "gallery": description.uuid, "model": description.model, "dimension": description.dimension,
            "index": description.options.to_json(), "entries": description.entries,
        }  # fmt: skip
        self.write({**about, "restoring": True} if description.restoring else about)

    def write(self, about: Any) -> None:
        """Write the row as given."""
        # The row holds 4096 bytes; without ASCII escapes, a path in any script takes no more than its own bytes.
        self._write_row("about", json.dumps(about, ensure_ascii=False))

    def change(self, **values: str | None) -> None:
        """Change some values of the row; None removes one."""
        about = {**(self.read() or {}), **values}
        self.write({name: value for name, value in about.items() if value is not None})

    def restored(self) -> None:
        """Record that restoring is complete."""
        self.write({name: value for name, value in (self.read() or {}).items() if name != "restoring"})

    def _damaged(self, what: object) -> GalleryFault:
        return damaged(f"{self._connection.location}, collection {self._gallery},", what)


def _create(client: Any, name: str) -> None:
    """Create an empty collection for the row, with a vector, as every collection needs one."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("text", DataType.VARCHAR, max_length=4096)
    schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema, index_params=_index(client), consistency_level="Strong")


def _index(client: Any) -> Any:
    params = client.prepare_index_params()
    params.add_index("unused", index_type="FLAT", metric_type="IP")
    return params
