"""The software inventory: what Microsoft's "Export software inventory assessment per device" documents.

Sources: that page (2025) and the service's OData `$metadata` (May 2026).
"""

from __future__ import annotations

from typing import Final

from connector.exports.fields import ApiEndpoint, Export, Feed, Field, Kind
from connector.model import Inventory, Topic

_FIELDS: Final = (
    Field("deviceId", "device_id", Kind.TEXT, "Defender's id of the device.", key=True),
    Field("deviceName", "device_name", Kind.TEXT, "Fully qualified name of the device.", about="device"),
    Field(
        "osPlatform",
        "os_platform",
        Kind.TEXT,
        "Operating system: Windows11, WindowsServer2022, Linux, macOS, …",
        file_name="OSPlatform",
        about="device",
    ),
    Field("rbacGroupId", "rbac_group_id", Kind.NUMBER, "Number of the device group.", about="device"),
    Field("rbacGroupName", "rbac_group_name", Kind.TEXT, "Name of the device group.", about="device"),
    Field("softwareVendor", "software_vendor", Kind.TEXT, "Vendor of the product.", key=True),
    Field("softwareName", "software_name", Kind.TEXT, "Name of the product.", key=True),
    Field("softwareVersion", "software_version", Kind.TEXT, "Version of the product.", key=True),
    Field(
        "numberOfWeaknesses",
        "number_of_weaknesses",
        Kind.NUMBER,
        "Number of known weaknesses of this version.",
        about="product",
    ),
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
        about="product",
    ),
    Field(
        "endOfSupportDate",
        "end_of_support_date",
        Kind.DATE,
        "When support ends or ended, YYYY-MM-DD.",
        about="product",
    ),
)

SOFTWARE: Final = Export(
    name="software",
    fields=_FIELDS,
    device="deviceId",
    version="softwareVersion",
    feeds=(
        Feed(
            Inventory.CPE,
            pages=ApiEndpoint("SoftwareInventoryByMachine", 30, 1000),
            files=ApiEndpoint("SoftwareInventoryExport", 5, 20),
        ),
        Feed(
            Inventory.NON_CPE,
            pages=ApiEndpoint("SoftwareInventoryNoProductCodeByMachine", 30, 1000),
            files=ApiEndpoint("SoftwareInventoryNonCpeExport", 5, 20),
        ),
    ),
    record_types={
        Topic.CHANGES: "SoftwareChange",
        Topic.ALERTS: "EndOfSupportAlert",
        Topic.INVENTORY: "SoftwareRecord",
        Topic.CAMPAIGNS: "SoftwareCampaign",
    },
)

SUPPORTED_STATUSES: Final = ("None",)
END_OF_SUPPORT_STATUSES: Final = ("EOS Version", "EOS Software")
UPCOMING_STATUSES: Final = ("Upcoming EOS Version", "Upcoming EOS Software")
