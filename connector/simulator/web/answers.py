"""What is asked and what is answered, without HTTP's machinery: the nouns between the server and what it serves."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MARK: Final = "\ufeff".encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        host: as in its Host header, with the port.
        raw_query: the query byte for byte, for signatures; `query` has it decoded.
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
class Answer:
    """One response: the body is in memory, or a file."""

    status: int
    body: bytes | Path
    headers: Mapping[str, str]


def json_answer(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON document."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


def api_error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """The API's error body; its target is the correlation id."""
    error = {"error": {"code": code, "message": message, "target": str(uuid.uuid4())}}
    return json_answer(error, status=status, headers=headers)


def storage_error(status: int, code: str, message: str, detail: str = "") -> Answer:
    """Azure Storage's error body: XML after a byte order mark."""
    more = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else ""
    text = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}\n'
        f"RequestId:{uuid.uuid4()}</Message>{more}</Error>"
    )
    headers = {"Content-Type": "application/xml", "x-ms-error-code": code, "x-ms-version": "2023-11-03"}
    return Answer(status, _MARK + text.encode(), headers)
