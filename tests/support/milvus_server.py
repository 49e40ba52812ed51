"""Milvus reached by its address, as a cluster is, in a process of its own: Milvus Lite's server, for tests that start services.

    python milvus_server.py FOLDER

prints its port, and serves until the other end of its input is closed.
"""

import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def milvus_at(folder):
    """The address of one that runs until the block ends."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


if __name__ == "__main__":
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(sys.argv[1])
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=1)
    database.close()
