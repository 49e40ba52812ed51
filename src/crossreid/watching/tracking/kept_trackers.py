"""The memory of trackers, stored in a table of the watch's state, so that it is written in the same steps."""

from __future__ import annotations

from crossreid.watching.identities.database import Database
from crossreid.watching.tracking import checkpoint


class KeptTrackers:
    """The bytes of each camera's tracker."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def read(self, camera: str) -> bytes | None:
        found = self.database.read("SELECT content FROM trackers WHERE camera = ?", (camera,))
        return bytes(found[0][0]) if found else None

    def forget(self, before: float) -> None:
        """Remove tracks last seen before this time, with their images. A tracker with none left starts anew."""
        for camera, content in self.database.read("SELECT camera, content FROM trackers"):
            left = checkpoint.without(bytes(content), camera, before)
            if left is None:
                self.database.write("DELETE FROM trackers WHERE camera = ?", (camera,))
            else:
                self.write(camera, left)

    def write(self, camera: str, content: bytes) -> None:
        self.database.write(
            "INSERT INTO trackers VALUES (?, ?) ON CONFLICT (camera) DO UPDATE SET content = excluded.content",
            (camera, content),
        )
