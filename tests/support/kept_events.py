"""Events, and the part of a watch's state that sinks ask, in memory."""

import threading

from crossreid.watching.events import Event


def event(number, kind="seen", **fields):
    """An event of the number, of a camera and a name that a spreadsheet would take for a formula."""
    fields = {"name": '=Zoë\n"quoted", 1', "probability": 0.5 + number / 1e6, **fields}
    camera = None if kind in ("merged", "split") else "gate"
    told = {
        "id": f"w-{number}",
        "number": number,
        "kind": kind,
        "time": 1.7e9 + number / 3,
        "identity": f"g{number % 7}",
    }
    return Event(**{**told, "camera": camera, **fields})


class KeptEvents:
    """Events from 1 on, and how far each sink has come; safe to use from any thread."""

    def __init__(self, count=0):
        self.all = [event(number) for number in range(1, count + 1)]
        self.cursors = {}
        self._lock = threading.Lock()

    def add(self, count=1, **fields):
        with self._lock:
            self.all += [event(len(self.all) + 1 + more, **fields) for more in range(count)]

    def events(self, after=0, limit=1000):
        with self._lock:
            return self.all[after : after + limit]

    def undelivered(self, sink, limit=1000):
        return self.events(self.cursors.get(sink, 0), limit)

    def delivered(self, sink, number):
        with self._lock:
            self.cursors[sink] = number
