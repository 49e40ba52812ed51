"""A small RTSP server for tests (RFC 2326): one stream of H.264 (RFC 6184), its packets interleaved with the answers over TCP."""

import contextlib
import re
import socketserver
import struct
import threading
import time
from fractions import Fraction

import av

CLOCK = 90_000  # of RTP's timestamps of video
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 0.0.0.0
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track1
"""


def encoded(pictures):
    """The units (NAL) of each picture `(H, W, 3)` in H.264."""
    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = pictures[0].shape[:2]
    codec.pix_fmt, codec.time_base, codec.framerate = "yuv420p", Fraction(1, 10), Fraction(10)
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", "crf": "10"}
    units = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        (packet,) = codec.encode(frame)
        units.append([unit for unit in re.split(b"\x00\x00\x00?\x01", bytes(packet)) if unit])
    return units


@contextlib.contextmanager
def serving_rtsp(connections, *, step, pause=0.02):
    """The address of a camera, and the requests that it gets.

    Args:
        connections: of each, the pictures that are sent before it breaks off; of the last one it does not, but is silent then.
        step: seconds from frame to frame, as the frames say; pause: as they are sent.
    """
    films = [encoded(pictures) for pictures in connections]
    requests, closing = [], threading.Event()
    lock, made = threading.Lock(), [0]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                while not closing.is_set() and self.answer():
                    pass

        def answer(self):
            lines = []
            while (line := self.rfile.readline()).strip():
                lines.append(line.decode().strip())
            if not lines:
                return False
            method = lines[0].split()[0]
            requests.append(lines[0])
            number = next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("cseq"))
            more = {
                "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1;timeout=60\r\n",
                "PLAY": "Session: 1\r\n",
            }.get(method, "")
            body = SDP.replace("\n", "\r\n") if method == "DESCRIBE" else ""
            if body:
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}\r\n{body}".encode())
            if method == "PLAY":
                self.play()
                return False
            return True

        def play(self):
            with lock:
                made[0] += 1
                last = made[0] >= len(films)
                film = films[min(made[0], len(films)) - 1]
            sequence = 0
            for number, units in enumerate(film):
                for unit in units:
                    marker = 0x80 if unit is units[-1] else 0
                    stamp = 1000 + round(number * step * CLOCK)
                    packet = struct.pack(">BBHII", 0x80, marker | 96, sequence, stamp, 7) + unit
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                    sequence += 1
                self.wfile.flush()
                time.sleep(pause)
            if last:
                closing.wait(30)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"rtsp://me:secret@127.0.0.1:{server.server_address[1]}/stream1", requests
        finally:
            closing.set()
            server.shutdown()
