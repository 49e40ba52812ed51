"""A receiver of webhooks on a port of this machine, that fails and is slow as it is told to."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(ThreadingHTTPServer):
    """Answers what `script` says, then 204; keeps what was sent. `script` has statuses, (status, headers) and seconds of delay."""

    daemon_threads = True

    def __init__(self, port=0, script=()):
        super().__init__(("127.0.0.1", port), Handler)
        self.script, self.requests = list(script), []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        step = self.server.script.pop(0) if self.server.script else 204
        delay, step = (step, 204) if isinstance(step, float) else (0.0, step)
        status, headers = step if isinstance(step, tuple) else (step, {})
        self.server.requests.append((self.path, dict(self.headers), body, status))
        time.sleep(delay)
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def receiving(**options):
    receiver = Receiver(**options)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def events_of(receiver):
    """What it has taken: those it answered with 2xx."""
    return [json.loads(body) for _, _, body, status in receiver.requests if status < 300]
