"""What an export is: its fields, their kinds and keys, the feeds it comes through, and the names derived from them.

An `Export` is a value that is handed down: the JSON reader's columns, DuckDB's columns, normal forms, keys, the Avro
mapping and the documentation's table of fields are all made from it. `software.SOFTWARE` is the first one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, Literal

from connector.model import Inventory, Topic


class Kind(StrEnum):
    """How a property's value is read, normalised and compared."""

    TEXT = "text"
    """A string; in an attribute, an empty string is the same as null."""

    NUMBER = "number"
    """A 64-bit integer."""

    TEXT_SET = "text_set"
    """An array of strings, compared as a set; absent, null and `[]` are one."""

    DATE = "date"
    """A calendar date, normalised to `YYYY-MM-DD`; an unreadable one is kept as it is."""

    TIMESTAMP = "timestamp"
    """A time, normalised to ISO 8601 in UTC with a `Z`; an unreadable one is kept as it is."""


COLUMN_TYPES: Final = {
    Kind.TEXT: "VARCHAR",
    Kind.NUMBER: "BIGINT",
    Kind.TEXT_SET: "VARCHAR[]",
    Kind.DATE: "VARCHAR",
    Kind.TIMESTAMP: "VARCHAR",
}
"""The SQL type of a column by the kind of its field; a date or time that cannot be read is kept as text."""


@dataclass(frozen=True, slots=True)
class Field:
    """One documented property.

    Attributes:
        name: camelCase, as in the JSON pages and in Avro; any case is read.
        column: the name of its column in the state file.
        kind: how its value is read and compared.
        key: part of the record's key; null is "" there.
        aliases: other names the service has been seen to use for it, camelCase.
        doc: what it is, for the schemas and the documentation.
        file_name: as the files spell it, where that is not simply the name in PascalCase.
        volatile: it differs at every generation: read and stored, and never compared.
        about: what its value is a fact of: the device, the product, or the one on the other.
    """

    name: str
    column: str
    kind: Kind
    doc: str
    key: bool = False
    aliases: tuple[str, ...] = ()
    file_name: str = ""
    volatile: bool = False
    about: Literal["device", "product", "installation"] = "installation"

    @property
    def wire_names(self) -> tuple[str, ...]:
        """The names to look for in lower case, the usual one first."""
        return tuple(name.lower() for name in (self.name, *self.aliases))

    @property
    def file_names(self) -> tuple[str, ...]:
        """The same names as the files usually spell them."""
        name, *aliases = (name[0].upper() + name[1:] for name in (self.name, *self.aliases))
        return (self.file_name or name, *aliases)


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """One endpoint of the API and its published limits; `path` is relative to `/api/machines/`, or the list itself."""

    path: str
    calls_a_minute: int
    calls_an_hour: int


@dataclass(frozen=True, slots=True)
class Feed:
    """One list that an export comes as, in both flavours: JSON pages, and a listing of gzip files."""

    inventory: Inventory
    pages: ApiEndpoint
    files: ApiEndpoint


@dataclass(frozen=True)
class Export:
    """One "per device" export: what its records are, where they come from, and what is published of them.

    Attributes:
        name: what the export is called.
        fields: all documented properties, in the order in which they are published.
        device: name of the key field that says which device a record is about.
        version: name of the key field that is a version: one removed and one added version of what the rest of the
            subject names are one change of version. None: records have no version, and nothing is paired.
        feeds: the lists that the export comes as.
        record_types: the Avro record of each topic that carries records of this export.
    """

    name: str
    fields: tuple[Field, ...]
    device: str
    version: str | None
    feeds: tuple[Feed, ...]
    record_types: Mapping[Topic, str]

    @cached_property
    def keys(self) -> tuple[Field, ...]:
        """The fields that make a record's key."""
        return tuple(field for field in self.fields if field.key)

    @cached_property
    def subject(self) -> tuple[Field, ...]:
        """The key fields beside the device: what is on it, such as vendor, name and version."""
        return tuple(field for field in self.keys if field.name != self.device)

    @cached_property
    def product(self) -> tuple[Field, ...]:
        """The subject without its version."""
        return tuple(field for field in self.subject if field.name != self.version)

    @cached_property
    def version_column(self) -> str | None:
        """The column of the version; None where records have none."""
        return self.column(self.version) if self.version else None

    @cached_property
    def attributes(self) -> tuple[Field, ...]:
        """The fields that are not part of the key."""
        return tuple(field for field in self.fields if not field.key)

    @cached_property
    def columns(self) -> str:
        """All columns, as a SELECT list."""
        return columns_of(self.fields)

    @cached_property
    def key_columns(self) -> str:
        """The columns of the key, as a SELECT list."""
        return columns_of(self.keys)

    @cached_property
    def subject_columns(self) -> str:
        """The columns of the subject, as a SELECT list."""
        return columns_of(self.subject)

    @cached_property
    def attribute_columns(self) -> str:
        """The columns of the attributes, as a SELECT list."""
        return columns_of(self.attributes)

    @cached_property
    def wire_names(self) -> frozenset[str]:
        """Every documented property name, in lower case."""
        return frozenset(name for field in self.fields for name in field.wire_names)

    def field(self, name: str) -> Field:
        """The field of that name. Raises KeyError where there is none."""
        return self._by_name[name]

    def column(self, name: str) -> str:
        """The column of the field of that name. Raises KeyError where there is none."""
        return self._by_name[name].column

    def feed(self, inventory: Inventory) -> Feed:
        """The feed that brings an inventory. Raises KeyError where there is none."""
        return {feed.inventory: feed for feed in self.feeds}[inventory]

    def tracked(self, ignored: Collection[str] = ()) -> tuple[Field, ...]:
        """The attributes whose difference makes a change: neither volatile nor ignored by configuration."""
        return tuple(field for field in self.attributes if not field.volatile and field.name not in ignored)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}


def columns_of(fields: Collection[Field], *, of: str = "") -> str:
    """A SELECT list of the columns of some fields; `of` is the alias of the relation they are columns of."""
    return ", ".join(f"{of}.{field.column}" if of else field.column for field in fields)
