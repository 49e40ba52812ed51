"""What a store that fails says: one line that names the address, within seconds, whatever the command is."""

import http.server
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from crossreid.cli.app import main
from crossreid.data import object_storage
from crossreid.data.addresses import Address
from crossreid.data.object_storage import Denied, NotThere, StorageError


@contextmanager
def answering(status, code):
    """An S3 server that answers everything by one error; a real one that forbids something does so too."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_DELETE = do_POST = do_GET

        def log_message(self, *given):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def at(endpoint, monkeypatch):
    import fsspec

    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint})
    monkeypatch.setattr(object_storage, "_OPEN", {})


def test_a_bucket_that_is_not_there(s3, capsys, place, tmp_path):
    with pytest.raises(SystemExit):
        main(["embed", str(place / "run"), "s3://nobody-made-this/x", "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "s3://nobody-made-this/x" in told
    assert "there is no such bucket" in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(NotThere, match="there is no such bucket"):
        Address("s3://nobody-made-this/x").write_bytes([b"x"])


def test_a_store_that_forbids_it(s3, monkeypatch):
    with answering(403, "AccessDenied") as endpoint:
        at(endpoint, monkeypatch)
        address = Address("s3://photos/x.jpg")
        for asked in (address.is_file, address.names, address.read_bytes, lambda: address.write_bytes([b"x"])):
            with pytest.raises(Denied, match=r"^s3://photos/x.jpg cannot be .*: permission denied"):
                asked()


def test_no_answer_is_said_within_seconds(s3, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        at(f"http://127.0.0.1:{closed.getsockname()[1]}", monkeypatch)
        begun = time.process_time(), time.monotonic()
        with pytest.raises(StorageError, match=r"^s3://photos/x.jpg cannot be read: the store does not answer"):
            Address("s3://photos/x.jpg").read_bytes()
        assert time.monotonic() - begun[1] < 10, "three attempts, with 1 and 2 seconds between them at most"


def test_no_credentials(s3, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    at(s3, monkeypatch)
    with pytest.raises(Denied, match=r"^s3://photos/x.jpg cannot be read: no credentials"):
        Address("s3://photos/x.jpg").read_bytes()


def test_a_large_object_that_is_not_written_to_its_end_is_not_there(bucket):
    def pieces():
        yield bytes(9 << 20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        (bucket / "large").write_bytes(pieces())
    assert bucket.names() == []
    whole = [bytes([number]) * (3 << 20) for number in range(4)]
    (bucket / "large").write_bytes(whole)
    assert (bucket / "large").read_bytes() == b"".join(whole)
    with pytest.raises(FileExistsError):
        (bucket / "large").write_bytes([b"x"], new=True)
