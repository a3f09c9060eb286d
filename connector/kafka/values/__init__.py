"""The value format: how a record becomes the bytes of a message's value, and how it is read back.

`messages` decides which record goes where, under which key and headers, and hands it to a `Values`; one module here
implements it per format. Nothing outside this folder knows a format.

**A record**, as it is written, is a mapping that has every field of its type (`schemas`) and no other:

| the field is      | the value is                                                                          |
|-------------------|---------------------------------------------------------------------------------------|
| text              | `str`: whatever UTF-8 can carry, NUL and control characters too, goes through unchanged |
| an enum           | `str`: one of its symbols                                                             |
| a number          | `int`, 32 or 64 bits signed                                                           |
| a flag            | `bool`                                                                                |
| a list of texts   | `list[str]`                                                                           |
| a time            | `int`: milliseconds since 1970 in UTC, from the year 1 to the year 9999               |
| a nested record   | `dict`, by the same rules: `before` of a change                                       |
| nullable          | any of these, or `None`                                                               |

`shortenedFields`, of the types that have it, is a field like any other. A record that is too large for the broker is
made smaller before it gets here: `shortening` calls `write` again with a shorter one, and needs only the size.

**What is read** is such a mapping too, with one difference: a time is an aware `datetime` in UTC.

**Old and new versions.** A record is read as it was written: a field that its writer did not know is missing, and a
field that this version does not know is there. Whoever needs a certain type names its topic: then the format resolves
the versions, so that missing fields have the schema's defaults, unknown ones are left out, and a record of another
type is an error. Recovery reads checkpoints like that.

**Changing the format** is no new epoch: one format is written, and both are read (`formats`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from connector.model import Topic


class ValueReader(Protocol):
    """The half of a `Values` that reads. It may ask others (a registry) when something is first read, never before."""

    def read(self, value: bytes, topic: Topic | None = None) -> dict[str, Any]:
        """The record in a message's value, as it was written; resolved to the type of `topic` where that is given.

        Raises:
            EncodingError: the bytes are not in this format, not one whole record, or of another type than the topic's.
            SinkUnavailable, SinkRejected: a registry is needed, and is away or denies access.
        """


class ValueSql(Protocol):
    """How the engine writes many records of one type at once: `Values.write` as SQL.

    Attributes:
        pieces: a SELECT list that `value` refers to.
        value: the expression of a value; NULL where the record is to be given to `Values.write`.
    """

    pieces: str
    value: str

    def constants(self, record: Mapping[str, Any]) -> list[bytes | None]:
        """The columns `constant_0`, `constant_1`, … that `value` refers to; raises as `Values.write`.

        Args:
            record: the fields that all of the records have in common. With None in it, none of them is written.
        """


class Values(ValueReader, Protocol):
    """One value format. It may ask others (a registry) when something is first written or read, never before."""

    @property
    def content_type(self) -> bytes:
        """The media type, for the header `content-type`."""

    def write(self, topic: Topic, record: Mapping[str, Any]) -> bytes:
        """A record of the topic's type as bytes: the same bytes whatever the order of its names. Changes nothing in it.

        Strict: an unknown name, a missing one, or a value that its type cannot carry is refused, never converted.

        Raises:
            EncodingError: the record does not fit its type (record and field are named), or its schema is not
                registered where it has to be.
            SinkUnavailable, SinkRejected: a registry is needed, and is away or denies access.
        """

    def sql(self, topic: Topic, columns: Mapping[str, str]) -> ValueSql | None:
        """The SQL that writes records of the topic's type; None where the format has none.

        Args:
            topic: of the records.
            columns: the expression of each field that differs from record to record; all others are constant.
        """
