"""Cameras that are reached by HTTP, for tests: multipart JPEG as they send it, and files; they break off and stall when told to."""

import contextlib
import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


class Script:
    """What a server does, one entry a connection, the last one again and again.

    Args:
        connections: of each, what is sent: pictures `(H, W, 3)`, numbers of seconds to wait, bytes as they are.
        pause: seconds after each picture.
    """

    def __init__(self, connections, *, pause=0.02, kind="multipart/x-mixed-replace; boundary=frame", length=None):
        self.connections, self.pause, self.kind, self.length = connections, pause, kind, length
        self.made = 0
        self.closing = threading.Event()

    def next(self):
        self.made += 1
        return self.connections[min(self.made, len(self.connections)) - 1]


def jpeg_part(picture):
    """A picture as a part of a multipart answer."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=95)
    data = content.getvalue()
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"


@contextlib.contextmanager
def serving(script):
    """The address of a server that does what a script says."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            entry = script.next()
            if entry is None:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", script.kind)
            if script.length is not None:
                self.send_header("Content-Length", str(script.length))
            self.end_headers()
            with contextlib.suppress(OSError):
                for part in entry:
                    if script.closing.is_set():
                        return
                    if isinstance(part, int | float):
                        script.closing.wait(part)
                        continue
                    self.wfile.write(part if isinstance(part, bytes) else jpeg_part(part))
                    self.wfile.flush()
                    if not isinstance(part, bytes):
                        time.sleep(script.pause)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live"
    finally:
        script.closing.set()
        server.shutdown()
        server.server_close()
