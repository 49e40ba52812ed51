"""Exits with 0 if the service in this container reports that it is healthy, and with 1 otherwise.

CROSSREID_HEALTH is the address to query, http://127.0.0.1:8000/v1/health by default. The certificate of an https
address is not checked: it names the service's host, not the loopback, and nothing secret is sent. Uses the standard
library only.
"""

import os
import ssl
import sys
import urllib.request

ADDRESS = os.environ.get("CROSSREID_HEALTH", "http://127.0.0.1:8000/v1/health")


def is_well(address: str) -> bool:
    """Whether the address answers 200 within four seconds, without going through a proxy."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )
    try:
        with opener.open(address, timeout=4) as answer:
            return answer.status == 200
    except (OSError, ValueError) as error:
        print(f"{address}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(0 if is_well(ADDRESS) else 1)
