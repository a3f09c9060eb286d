"""A client of the simulator that is plain `requests`, and an independent reading of what it serves."""

from __future__ import annotations

import gzip
import json
from types import TracebackType
from typing import Any, Self

import requests

from connector.model import Inventory
from connector.simulator import Simulator

SCOPE = "https://api.securitycenter.microsoft.com/.default"
LISTINGS = {
    Inventory.CPE: "/api/machines/SoftwareInventoryExport",
    Inventory.NON_CPE: "/api/machines/SoftwareInventoryNonCpeExport",
}
PAGES = {
    Inventory.CPE: "/api/machines/SoftwareInventoryByMachine",
    Inventory.NON_CPE: "/api/machines/SoftwareInventoryNoProductCodeByMachine",
}
TIME_OUT_SECONDS = 20


class PlainClient:
    """Asks a running simulator with plain `requests`; a context, so that its sockets are closed."""

    def __init__(self, simulator: Simulator, *, time_out_seconds: float = TIME_OUT_SECONDS) -> None:
        self.simulator = simulator
        self.time_out_seconds = time_out_seconds
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(simulator.ca_bundle)
        self._token = ""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sockets."""
        self.session.close()

    def ask_token(self, **changed: str) -> requests.Response:
        """The token endpoint's answer to a client-secret request, with fields changed."""
        simulator = self.simulator
        form = {
            "grant_type": "client_credentials",
            "client_id": simulator.client_id,
            "client_secret": simulator.client_secret or "",
            "scope": SCOPE,
            **changed,
        }
        url = f"{simulator.authority}/{simulator.tenant_id}/oauth2/v2.0/token"
        return self.session.post(url, data=form, timeout=self.time_out_seconds, allow_redirects=False)

    def token(self) -> str:
        """A token, asked for once."""
        if not self._token:
            self._token = str(self.ask_token().json()["access_token"])
        return self._token

    def get(self, url: str, *, token: str | None = "") -> requests.Response:
        """Ask the API (a path, with a token) or any URL (without one); a token of None is left out."""
        headers = {}
        if url.startswith("/"):
            url = self.simulator.api_url + url
        if token is not None and url.startswith(self.simulator.api_url):
            headers["Authorization"] = f"Bearer {token or self.token()}"
        return self.session.get(url, headers=headers, timeout=self.time_out_seconds, allow_redirects=False)

    def listing(self, inventory: Inventory = Inventory.CPE) -> dict[str, Any]:
        """The listing of an inventory's files."""
        return dict(self.get(LISTINGS[inventory]).json())

    def urls(self, inventory: Inventory = Inventory.CPE) -> list[str]:
        """The URLs of an inventory's files."""
        return list(self.listing(inventory)["exportFiles"])

    def blob(self, place: int = 0) -> requests.Response:
        """The answer for one file of the listing."""
        return self.get(self.urls()[place])

    def file_records(self, inventory: Inventory = Inventory.CPE) -> list[dict[str, Any]]:
        """Every record of the files, as it is written."""
        return [record for url in self.urls(inventory) for record in records_of(self.get(url).content)]

    def walk(self, inventory: Inventory = Inventory.CPE, *, page_size: int = 50_000) -> list[dict[str, Any]]:
        """Every page, following nextLink."""
        url: str | None = f"{PAGES[inventory]}?pageSize={page_size}"
        pages = []
        while url:
            pages.append(self.get(url).json())
            url = pages[-1].get("@odata.nextLink")
        return pages

    def page_records(self, inventory: Inventory = Inventory.CPE, *, page_size: int = 50_000) -> list[dict[str, Any]]:
        """Every record of the pages, as it is written."""
        return [record for page in self.walk(inventory, page_size=page_size) for record in page["value"]]


def records_of(content: bytes) -> list[dict[str, Any]]:
    """The records of a gzip file of JSON lines."""
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def normal(record: dict[str, Any]) -> dict[str, Any]:
    """A record's normal form, derived independently from the documented properties, in any spelling."""
    properties = {name.lower(): value for name, value in record.items()}
    single = [properties["registrypath"]] if properties.get("registrypath") else []
    first_seen = properties["softwarefirstseentimestamp"]
    return {
        "deviceId": properties.get("deviceid") or "",
        "deviceName": properties.get("devicename"),
        "osPlatform": properties.get("osplatform"),
        "rbacGroupId": properties.get("rbacgroupid"),
        "rbacGroupName": properties.get("rbacgroupname"),
        "softwareVendor": properties.get("softwarevendor") or "",
        "softwareName": properties.get("softwarename") or "",
        "softwareVersion": properties.get("softwareversion") or "",
        "numberOfWeaknesses": properties.get("numberofweaknesses"),
        "diskPaths": sorted(set(properties.get("diskpaths") or [])),
        "registryPaths": sorted(set(properties.get("registrypaths") or single)),
        "softwareFirstSeenTimestamp": f"{first_seen[:10]}T{first_seen[11:19]}Z",
        "endOfSupportStatus": properties.get("endofsupportstatus"),
        "endOfSupportDate": (properties.get("endofsupportdate") or "")[:10] or None,
    }


def in_order(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records by their key."""
    return sorted(records, key=key_of)


def key_of(record: dict[str, Any]) -> tuple[str, str, str, str]:
    """Device, vendor, name and version of a normal record."""
    return record["deviceId"], record["softwareVendor"], record["softwareName"], record["softwareVersion"]
