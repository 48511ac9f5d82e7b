"""A course's exchange as its lecturer reaches it: by requests from the lecturer's server."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.lti import Person

# Runs in the lecturer's kernel, with what the server has in its environment and nothing else.
_CALL = """
import json, os, urllib.error, urllib.request
def call(method, path, body):
    request = urllib.request.Request(os.environ["EXCHANGE_URL"] + path, method=method)
    request.add_header("Authorization", "token " + os.environ["JUPYTERHUB_API_TOKEN"])
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
print(json.dumps(call(*json.loads(%r))))
"""


def call(person: Person, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Send a request to the exchange's API as this person and return status and JSON."""
    printed = person.run_cell(_CALL % json.dumps([method, path, body]), timeout=150)
    try:
        status, document = json.loads(printed)
    except ValueError as error:
        raise AssertionError(f"{method} {path}: {printed[-600:]}") from error
    return status, document


def ask(person: Person, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  any JSON
    """Send a request that must succeed and return its JSON."""
    status, document = call(person, method, path, body)
    assert status in (200, 202), f"{method} {path} answered {status}: {document}"
    return document
