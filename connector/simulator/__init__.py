"""An evolving fleet, and Defender's export API over HTTPS, for demos and tests. Needs the extra `simulator`.

fleet      devices and their software: a pure function of seed, device and generation
tracks     which versions are released when, for the products in `catalogue` and the folder `products`
layouts    how a record is written: lines of the files, records of the pages, normal form
export     a generation's parts on disk, and the pages as a cursor over them
tokens     the authority       api  the export API       storage  pre-signed URLs
gate       tokens and limits   machines  the list of devices
faults     what goes wrong     distort  how that changes records, lines and bytes
routes     dispatches requests                           server   HTTPS in a thread
simulation assembles all of it
"""

from __future__ import annotations

from connector.errors import ConfigError

try:
    import aiohttp as _aiohttp
    import trustme as _trustme
except ModuleNotFoundError as error:
    raise ConfigError(
        f"the simulator needs the package {error.name}, which is not installed",
        hint="Install it with `pip install 'mde-inventory-connector[simulator]'`.",
    ) from error

from connector.simulator.faults import Endpoint, Fault, FaultKind, Faults
from connector.simulator.fleet.fleet import Device, Fleet
from connector.simulator.fleet.layouts import normal_records
from connector.simulator.simulation import Simulator, run_simulator, source_settings
from connector.simulator.web.api import PageShape
from connector.simulator.web.certificates import Certificate
from connector.simulator.web.limits import RateLimits
from connector.simulator.web.routes import ADMIN_HEADER, ADMIN_PATH, Request
from connector.simulator.web.tokens import federated_token

__all__ = [
    "ADMIN_HEADER",
    "ADMIN_PATH",
    "Certificate",
    "Device",
    "Endpoint",
    "Fault",
    "FaultKind",
    "Faults",
    "Fleet",
    "PageShape",
    "RateLimits",
    "Request",
    "Simulator",
    "federated_token",
    "normal_records",
    "run_simulator",
    "source_settings",
]
del _aiohttp, _trustme
