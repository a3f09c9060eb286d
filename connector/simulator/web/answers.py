"""Requests and responses as values, between the HTTP server and what it serves."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MARK: Final = "\ufeff".encode()


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """A request to the simulator.

    Attributes:
        host: the Host header, with the port.
        raw_query: the query byte for byte, for signatures; `query` is the decoded one.
        form: the fields of a form body.
    """

    method: str
    host: str
    path: str
    raw_query: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def authorization(self) -> str | None:
        """The Authorization header."""
        return self.headers.get("Authorization")


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """A response of the simulator: its body is in memory, or a file."""

    status: int
    body: bytes | Path
    headers: Mapping[str, str]


def json_response(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> ServerResponse:
    """A response with a JSON document."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return ServerResponse(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


def api_error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> ServerResponse:
    """The API's error response; `target` is the correlation id."""
    error = {"error": {"code": code, "message": message, "target": str(uuid.uuid4())}}
    return json_response(error, status=status, headers=headers)


def storage_error(status: int, code: str, message: str, detail: str = "") -> ServerResponse:
    """Azure Storage's error response: XML after a byte order mark."""
    element = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else ""
    text = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}\n'
        f"RequestId:{uuid.uuid4()}</Message>{element}</Error>"
    )
    headers = {"Content-Type": "application/xml", "x-ms-error-code": code, "x-ms-version": "2023-11-03"}
    return ServerResponse(status, _MARK + text.encode(), headers)
