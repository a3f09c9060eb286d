"""The documented properties of a software record: one table that everything else is generated from.

DuckDB columns, the JSON reader's columns, normalisation, keys, the Avro mapping and the README's table of fields all
come from `FIELDS`. Owns the names and the rules; must not import a library, read a file or know SQL beyond a type's
name. Sources: Microsoft's "Export software inventory assessment per device" page (2025) and the service's OData
`$metadata` (May 2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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


@dataclass(frozen=True, slots=True)
class Field:
    """One documented property.

    Attributes:
        name: camelCase, as in the JSON pages and in Avro; any case is read.
        column: the name of its column in the state file.
        kind: how its value is read and compared.
        key: part of the record's key; null is "" there.
        aliases: other names the service has been seen to use for it, camelCase.
        doc: what it is, for the schemas and the README.
        file_name: as the files spell it, where that is not simply the name in PascalCase.
    """

    name: str
    column: str
    kind: Kind
    doc: str
    key: bool = False
    aliases: tuple[str, ...] = ()
    file_name: str = ""

    @property
    def wire_names(self) -> tuple[str, ...]:
        """The names to look for in lower case, the usual one first."""
        return tuple(name.lower() for name in (self.name, *self.aliases))

    @property
    def file_names(self) -> tuple[str, ...]:
        """The same names as the files usually spell them."""
        name, *aliases = (name[0].upper() + name[1:] for name in (self.name, *self.aliases))
        return (self.file_name or name, *aliases)


FIELDS: Final[tuple[Field, ...]] = (
    Field("deviceId", "device_id", Kind.TEXT, "Defender's id of the device.", key=True),
    Field("deviceName", "device_name", Kind.TEXT, "Fully qualified name of the device."),
    Field(
        "osPlatform",
        "os_platform",
        Kind.TEXT,
        "Operating system: Windows11, WindowsServer2022, Linux, macOS, …",
        file_name="OSPlatform",
    ),
    Field("rbacGroupId", "rbac_group_id", Kind.NUMBER, "Number of the device group."),
    Field("rbacGroupName", "rbac_group_name", Kind.TEXT, "Name of the device group."),
    Field("softwareVendor", "software_vendor", Kind.TEXT, "Vendor of the product.", key=True),
    Field("softwareName", "software_name", Kind.TEXT, "Name of the product.", key=True),
    Field("softwareVersion", "software_version", Kind.TEXT, "Version of the product.", key=True),
    Field("numberOfWeaknesses", "number_of_weaknesses", Kind.NUMBER, "Number of known weaknesses of this version."),
    Field("diskPaths", "disk_paths", Kind.TEXT_SET, "Where on disk the product was found, sorted."),
    Field(
        "registryPaths",
        "registry_paths",
        Kind.TEXT_SET,
        "Where in the registry the product was found, sorted.",
        aliases=("registryPath",),
    ),
    Field(
        "softwareFirstSeenTimestamp",
        "software_first_seen_timestamp",
        Kind.TIMESTAMP,
        "When this version was first seen on the device, ISO 8601 in UTC.",
    ),
    Field(
        "endOfSupportStatus",
        "end_of_support_status",
        Kind.TEXT,
        "None, EOS Version, Upcoming EOS Version, EOS Software, Upcoming EOS Software; an open set.",
    ),
    Field("endOfSupportDate", "end_of_support_date", Kind.DATE, "When support ends or ended, YYYY-MM-DD."),
)

KEY_FIELDS: Final = tuple(field for field in FIELDS if field.key)
ATTRIBUTE_FIELDS: Final = tuple(field for field in FIELDS if not field.key)
SOFTWARE_KEY_FIELDS: Final = tuple(field for field in KEY_FIELDS if field.name != "deviceId")
BY_NAME: Final = {field.name: field for field in FIELDS}

END_OF_SUPPORT_STATUSES: Final = ("EOS Version", "EOS Software")
UPCOMING_STATUSES: Final = ("Upcoming EOS Version", "Upcoming EOS Software")
