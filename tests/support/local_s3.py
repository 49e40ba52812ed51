"""A local S3 server, as a process of its own on 127.0.0.1, with the time that each request takes beside its work."""

import os
import subprocess
import sys
from contextlib import contextmanager

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip
_SERVER = """
import sys, time
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
application = DomainDispatcherApplication(create_backend_app)
latency = float(sys.argv[1])
def served(environ, start_response):
    time.sleep(latency)
    return application(environ, start_response)
import logging
logging.getLogger("werkzeug").disabled = True
server = make_server("127.0.0.1", 0, served, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def local_s3(latency=0.0):
    """The server's address; it ends with the block. `latency`: seconds that each request waits."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(latency)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | ENVIRONMENT,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.wait()


def storage_environment(endpoint):
    """What a process needs to find the server: fsspec's own variable, and keys that it does not look at."""
    return ENVIRONMENT | {"FSSPEC_S3_ENDPOINT_URL": endpoint}
