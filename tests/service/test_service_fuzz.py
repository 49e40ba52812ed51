"""Every endpoint, asked what its own OpenAPI document allows and what it does not: whatever comes, the fault is the client's.

Schemathesis draws requests from the document, valid and not; the server is the real one, on a port.
"""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from crossreid.service.watch_folder import WatchFolder
from served import make_place, served
from watched import make_watch

OPERATIONS = [
    ("GET", "/v1/health"), ("GET", "/v1/about"), ("GET", "/v1/stats"), ("GET", "/v1/sample"), ("GET", "/v1/entry"),
    ("GET", "/v1/image"), ("POST", "/v1/search/images"), ("POST", "/v1/search/ids"), ("POST", "/v1/attention"),
    ("POST", "/v1/entries"), ("POST", "/v1/entries/delete"), ("POST", "/v1/compact"), ("GET", "/metrics"),
    ("GET", "/v1/watch/timeline"), ("GET", "/v1/watch/events"), ("GET", "/v1/watch/identities"),
    ("GET", "/v1/watch/identities/{id}"), ("GET", "/v1/watch/crops/{track}"), ("POST", "/v1/watch/merge"),
    ("POST", "/v1/watch/split"), ("GET", "/v1/watch/requests/{number}"),
]  # fmt: skip
EXAMPLES = int(os.environ.get("CROSSREID_FUZZ", "5"))  # of an endpoint, allowed ones and as many that are not


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    place = make_place(tmp_path_factory.mktemp("place"), "baseline")
    folder = make_watch(tmp_path_factory.mktemp("watched") / "watch", place.world)
    with served(place, tmp_path_factory.mktemp("state"), keep_images=True, watch=WatchFolder(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def document(running):
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json")


def test_every_endpoint_of_the_document_is_asked(document):
    assert {(each.ok().method.upper(), each.ok().path) for each in document.get_all_operations()} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (*operation, mode)
        for operation in OPERATIONS
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if (operation[1], mode) != ("/v1/health", GenerationMode.NEGATIVE)  # which takes nothing that could be wrong
    ],
)
def test_no_request_makes_the_service_fail(document, running, method, path, mode):
    asked = []

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, phases=[Phase.generate], database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def ask(case):
        response = case.call()
        asked.append(response.status_code)
        case.validate_response(response, checks=[not_a_server_error, response_schema_conformance])
        assert response.status_code < 500
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"code", "message"}

    ask()
    assert asked
    with running.client() as client:
        assert client.get("/v1/stats").json()["entries"] == len(running.service.gallery)
