"""The list of devices (`/api/machines`), with `$top` and `$skip`. Source: Microsoft's "List machines API" page."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from connector.simulator.export import Exports
from connector.simulator.faults import Endpoint, Fault
from connector.simulator.fleet.fleet import Machine
from connector.simulator.web.answers import ServerRequest, ServerResponse, api_error, json_response
from connector.simulator.web.gate import Gate
from connector.simulator.web.tokens import MACHINE_ROLE

MACHINES_PATH: Final = "/api/machines"
PAGE_MAX: Final = 10_000
_INACTIVE_AFTER: Final = timedelta(days=7)
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%f0Z"
"""With seven digits of a second, as the service writes its times."""


class MachinesApi:
    """Lists the devices of the generation that is being served."""

    def __init__(self, exports: Exports, gate: Gate) -> None:
        self._exports = exports
        self._gate = gate
        self.base_url = ""

    def answer(self, request: ServerRequest, _: tuple[Fault, ...]) -> ServerResponse:
        """Respond to a request for `MACHINES_PATH`."""
        refusal = self._gate.refuse(request, Endpoint.MACHINES, role=MACHINE_ROLE)
        if refusal:
            return refusal
        top, skip = request.query.get("$top", str(PAGE_MAX)), request.query.get("$skip", "0")
        if not (top.isdecimal() and skip.isdecimal() and 1 <= int(top) <= PAGE_MAX):
            return api_error(400, "BadRequest", f"$top must be from 1 to {PAGE_MAX}, and $skip a number.")
        generation = self._exports.current
        machines = self._exports.fleet.machines_at(generation.number)
        page = [
            _as_json(machine, generation.generated_at) for machine in islice(machines, int(skip), int(skip) + int(top))
        ]
        context = f"{self.base_url}/api/$metadata#Machines"
        return json_response({"@odata.context": context, "value": page})


def _as_json(machine: Machine, now: datetime) -> dict[str, Any]:
    device = machine.device
    return {
        "id": device.device_id,
        "computerDnsName": device.name,
        "lastSeen": machine.last_seen.strftime(_TIME),
        "osPlatform": device.platform,
        "healthStatus": "Active" if now - machine.last_seen < _INACTIVE_AFTER else "Inactive",
        "onboardingStatus": "Onboarded" if machine.is_onboarded else "CanBeOnboarded",
        "rbacGroupId": device.group_id,
        "rbacGroupName": device.group_name,
        "riskScore": "None",
        "exposureLevel": "Low",
        "deviceValue": "Normal",
        "machineTags": [],
    }
