"""Registering schemas at a registry that does not let this client set the compatibility."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from connector.assembly import Assembly
from connector.errors import SinkRejected
from connector.kafka import schemas
from connector.model import Check, Topic
from connector.operations.setup import register_schemas
from tests.support.configured import config_of

ID = 7
TOPICS = (Topic.CHANGES, Topic.ALERTS, Topic.SNAPSHOTS, Topic.CHECKPOINTS)


@contextmanager
def guarded_registry(status: int, compatibility: str | None = None, *, takes_schemas: bool = True) -> Iterator[str]:
    """A registry that refuses PUT /config with a status; `compatibility` is that of the whole registry."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.answer(status, {"error_code": 42205, "message": "not for you"})

        def do_POST(self) -> None:
            if takes_schemas:
                self.answer(200, {"id": ID})
            else:
                self.answer(status, {"error_code": 40301, "message": "not for you"})

        def do_GET(self) -> None:
            if self.path == "/config" and compatibility:
                self.answer(200, {"compatibilityLevel": compatibility})
            else:
                self.answer(404, {"error_code": 40408, "message": "no level"})

        def answer(self, code: int, content: object) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def registered(url: str) -> list[Check]:
    """What `setup` says of the schemas."""
    with Assembly(config_of(schema_registry={"url": url, "max.retries": 0})) as assembly:
        return list(register_schemas(assembly))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "the schema registry denies access (HTTP 403)"),
        (405, "{url} answers HTTP 405: not for you"),
        (409, "the schema registry refuses (HTTP 409)"),
        (422, "{url} answers HTTP 422: not for you"),
        (501, "the schema registry refuses (HTTP 501)"),
    ],
)
def test_schemas_are_registered_where_the_compatibility_may_not_be_set(status: int, reason: str) -> None:
    """Each line says that it is not set, and why; no check fails for it."""
    with guarded_registry(status) as url:
        checks = registered(url)
    subjects = [f"{topic.name_under('mde.software')}-value" for topic in TOPICS]
    assert checks == [
        Check(
            subject,
            fine=True,
            text=f"registered with id {ID}, but not FULL_TRANSITIVE: "
            f"setting the compatibility of {subject}: {reason.format(url=url)}",
        )
        for subject in subjects
    ]


def test_a_compatibility_that_somebody_else_has_set_is_as_good() -> None:
    """The registry's own level is FULL_TRANSITIVE: there is nothing to say."""
    with guarded_registry(403, "FULL_TRANSITIVE") as url:
        assert {check.text for check in registered(url)} == {f"registered with id {ID}, FULL_TRANSITIVE"}
    with guarded_registry(403, "BACKWARD") as url:
        assert all("but not FULL_TRANSITIVE" in check.text for check in registered(url))


def test_a_registry_that_refuses_the_schemas_too_fails_the_check() -> None:
    """What was registered last is what counts."""
    with guarded_registry(403, takes_schemas=False) as url:
        checks = registered(url)
        with Assembly(config_of(schema_registry={"url": url})) as assembly, pytest.raises(SinkRejected):
            assembly.registry.register("s-value", schemas.schema_of(Topic.CHANGES))
    assert [check.fine for check in checks] == [False] * len(TOPICS)
    assert all(check.text.startswith("registering the schema of ") for check in checks)
