"""The simulator: a fleet, served as Defender's export API with its authority and storage, over HTTPS on loopback.

Assembles the parts and manages the temporary folder. For demos, for tests, and for trying out the connector.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from connector import private_files
from connector.errors import ConfigError
from connector.model import Inventory, Method
from connector.simulator.export import RECORDS_OF_PART_MAX, Exports
from connector.simulator.faults import Faults
from connector.simulator.fleet.fleet import Fleet
from connector.simulator.fleet.layouts import normal_records
from connector.simulator.web.api import ExportApi, PageShape
from connector.simulator.web.certificates import Authority, Certificate
from connector.simulator.web.gate import Gate
from connector.simulator.web.identity import APP_SERVICE_PATH, Identity
from connector.simulator.web.limits import RateLimiter, RateLimits
from connector.simulator.web.machines import MachinesApi
from connector.simulator.web.routes import ADMIN_PATH, Request, Routes
from connector.simulator.web.server import LOOPBACK, Listener, Server
from connector.simulator.web.storage import Storage
from connector.simulator.web.tokens import APPLICATION_ROLE, DEFENDER_AUDIENCE, MACHINE_ROLE, Client, TokenAuthority

API_HOST: Final = "localhost"
STORAGE_HOST: Final = LOOPBACK
"""A host other than the API's. It is an address, since no second name resolves to loopback everywhere."""

TENANT_ID: Final = "5f8c2a4e-1b3d-4c6f-9a7e-0d2b4c6e8f10"
CLIENT_ID: Final = "c0ffee00-1234-4abc-8def-5eedf1ee7000"
CLIENT_SECRET: Final = "simulated-no-secret"  # noqa: S105 - made up
"""Of the verb `simulate`, which listens on loopback and serves nothing but made-up devices."""


def bundle_path(port: int) -> Path:
    """The CA certificate of the user's simulator on a port."""
    return Path(tempfile.gettempdir()) / f"mde-simulator-of-{os.geteuid()}" / f"ca-{port}.pem"


def source_settings(port: int) -> dict[str, Any]:
    """The `[source]` table for the verb `simulate` on a port, whether it runs or not."""
    url = f"https://{API_HOST}:{port}"
    return {
        "tenant_id": TENANT_ID,
        "client_id": CLIENT_ID,
        "auth": "client_secret",
        "client_secret": CLIENT_SECRET,
        "authority": url,
        "api_url": url,
        "ca_bundle": str(bundle_path(port)),
        "allowed_hosts": [STORAGE_HOST],
    }


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(eq=False)
class Simulator:
    """Serves a fleet; a context manager.

    Attributes:
        fleet: the fleet to serve, from generation 0; `advance` goes to the next.
        rate_limits: None: no limits; `RateLimits()`: the published ones.
        certificate, storage_certificate: the kinds of certificate that the two hosts present.
        token_seconds, roles, audience: properties of the tokens; an `audience` of None is the one asked for.
        certificate_thumbprint: hex SHA-256 of the only client certificate to accept.
        device_code_polls: how often a device-code client is asked to keep waiting.
        page_shape: where the JSON pages end.
        exports: makes the exports of the fleet.
        port, storage_port: 0: a free port.
        clock: the time of tokens and signatures; the fleet has its own time.
        faults: what goes wrong; empty at first.
        admin_token: the token that the admin endpoint expects.
        authority, api_url, storage_url: URLs of the running simulator.
    """

    fleet: Fleet
    _: KW_ONLY
    tenant_id: str = TENANT_ID
    client_id: str = CLIENT_ID
    client_secret: str | None = field(default_factory=secrets.token_urlsafe, repr=False)
    certificate_thumbprint: str | None = None
    roles: tuple[str, ...] = (APPLICATION_ROLE,)
    audience: str | None = None
    token_seconds: int = 3599
    device_code_polls: int = 1
    rate_limits: RateLimits | None = None
    certificate: Certificate = Certificate.VALID
    storage_certificate: Certificate = Certificate.VALID
    page_shape: PageShape = PageShape.FULL
    records_of_part_max: int = RECORDS_OF_PART_MAX
    exports: Callable[..., Exports] = Exports
    port: int = 0
    storage_port: int = 0
    clock: Callable[[], datetime] = _now
    faults: Faults = field(default_factory=Faults, init=False, repr=False)
    admin_token: str = field(default_factory=secrets.token_urlsafe, init=False, repr=False)
    authority: str = field(default="", init=False)
    api_url: str = field(default="", init=False)
    storage_url: str = field(default="", init=False)
    _bundle: Path | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        """Create certificates and listen.

        Raises:
            ConfigError: a port is taken.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="mde-simulator-")
        try:
            self._start(Path(self._folder.name))
        except ConfigError:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and delete everything written."""
        self._server.stop()
        if self._bundle:
            self._bundle.unlink(missing_ok=True)
        self._folder.cleanup()

    @property
    def storage_host(self) -> str:
        """The host of the files' URLs, which a connector must allow."""
        return STORAGE_HOST

    @property
    def ca_bundle(self) -> Path:
        """The CA certificate to trust, as a PEM file."""
        return self._bundle or Path(self._folder.name) / "ca.pem"

    def publish_bundle(self) -> None:
        """Put the CA certificate where it is looked for by the port.

        Raises:
            StateError: the folder is another user's.
        """
        bundle = bundle_path(int(self.api_url.rpartition(":")[2]))
        private_files.make_folder(bundle.parent)
        private_files.replace(bundle, self.ca_bundle.read_bytes())
        self._bundle = bundle

    @property
    def admin_url(self) -> str:
        """Where faults are set and generations advanced; expects `admin_token` in the header `ADMIN_HEADER`."""
        return f"{self.api_url}{ADMIN_PATH}"

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last requests, oldest first."""
        return self._routes.requests

    @property
    def generation(self) -> int:
        """The number of the generation being served."""
        return self._exports.current.number

    @property
    def generated_at(self) -> datetime:
        """The time of the generation being served."""
        return self._exports.current.generated_at

    def settings(self, **others: object) -> dict[str, Any]:
        """The `[source]` table of a connector that talks to this simulator, with other keys added or replaced."""
        return {
            "tenant_id": self.tenant_id,
            "client_id": self.client_id,
            "auth": "client_secret",
            "client_secret": self.client_secret,
            "authority": self.authority,
            "api_url": self.api_url,
            "ca_bundle": str(self.ca_bundle),
            "allowed_hosts": [self.storage_host],
            **others,
        }

    def managed_identity_environment(self) -> dict[str, str]:
        """The environment variables by which MSAL finds this simulator's managed identity, in App Service's form."""
        header = self.tokens.client.identity_header
        return {"IDENTITY_ENDPOINT": f"{self.authority}{APP_SERVICE_PATH}", "IDENTITY_HEADER": header}

    def advance(self, generations: int = 1) -> datetime:
        """Advance the fleet, and serve its new generation from now on. Returns that generation's time.

        Page tokens and URLs of the previous generation remain valid, those of older ones do not.
        """
        return self._exports.advance(generations).generated_at

    def advance_when_due(self) -> bool:
        """Advance by a generation, unless that would be dated ahead of the clock. Returns whether it did."""
        is_due = self.fleet.generated_at(self.generation + 1) <= self.clock()
        if is_due:
            self.advance()
        return is_due

    def prepare(self, inventory: Inventory = Inventory.CPE, method: Method = Method.FILES) -> int:
        """Write the current generation now instead of at the first request. Returns its number of records."""
        return sum(part.lines for part in self._exports.current.parts(inventory, method))

    def records(self, inventory: Inventory = Inventory.CPE) -> list[dict[str, Any]]:
        """The current generation's records in the connector's normal form: the oracle of tests."""
        return list(normal_records(self.fleet, self.generation, inventory))

    def _start(self, folder: Path) -> None:
        client = Client(
            tenant_id=self.tenant_id,
            client_id=self.client_id,
            secret=self.client_secret,
            certificate_thumbprint=self.certificate_thumbprint,
            roles=self.roles,
            audience=self.audience,
            token_seconds=self.token_seconds,
            device_code_polls=self.device_code_polls,
        )
        self.tokens = TokenAuthority(client, clock=self.clock)
        self._exports = self.exports(self.fleet, folder, records_of_part_max=self.records_of_part_max)
        storage = Storage(self._exports, self.tenant_id, clock=self.clock)
        limiter = RateLimiter(self.rate_limits, clock=time.monotonic)
        gate = Gate(self.tokens, limiter, frozenset({DEFENDER_AUDIENCE}))
        api = ExportApi(self._exports, storage, gate, page_shape=self.page_shape)
        machines = MachinesApi(self._exports, gate)
        self._routes = Routes(
            api,
            machines,
            storage,
            Identity(self.tokens),
            self.faults,
            admin_token=self.admin_token,
            advance=self.advance,
        )
        authority = Authority()
        authority.write_bundle(folder / "ca.pem")
        self._server = Server(
            (
                Listener(self.port, authority.context(API_HOST, self.certificate), self._routes.answer_api),
                Listener(
                    self.storage_port,
                    authority.context(STORAGE_HOST, self.storage_certificate),
                    self._routes.answer_storage,
                ),
            )
        )
        ports = self._server.start()
        self.authority = self.api_url = api.base_url = machines.base_url = f"https://{API_HOST}:{ports[0]}"
        self.storage_url = storage.base_url = f"https://{STORAGE_HOST}:{ports[1]}"


def run_simulator(  # noqa: PLR0913 - an option of `simulate` each, and what it does meanwhile
    *,
    devices: int,
    seed: int,
    port: int,
    interval_seconds: int,
    faults_file: Path | None,
    announce: Callable[[Simulator], None],
    stop: threading.Event,
    wait: Callable[[float], object] | None = None,
    advanced: Callable[[Simulator, bool], None] | None = None,
) -> None:
    """Serve a fleet until `stop` is set, with the published rate limits, advancing by a generation every interval.

    Secret and place of the CA certificate depend on user and port alone: a configuration outlives a restart.
    The fleet's time begins half a day ago, and its generations are as far apart as the interval, rounded up to whole
    minutes. Where they come faster than that, they catch up with the clock after hours. From then on each one waits
    until it is due: none is ever dated ahead.

    Args:
        devices: number of devices.
        seed: the same seed gives the same fleet.
        port: port of the API; 0: a free one. Storage uses the next port.
        interval_seconds: time between two generations.
        faults_file: faults to apply, as JSON.
        announce: called once, when the simulator listens.
        stop: ends the simulator; set by a signal or another thread.
        wait: waits that number of seconds, or less: for `stop`, or for somebody who wants the next generation now.
        advanced: called after each wait: whether there is a new generation, or it was not due yet.

    Raises:
        ConfigError: a port is taken, the file of faults is wrong, or the fleet's parameters are out of range.
        StateError: the folder of the CA certificate is another user's.
    """
    minutes = max(1, -(-interval_seconds // 60))
    fleet = Fleet(seed=seed, devices=devices, start=_now() - timedelta(hours=12), interval=timedelta(minutes=minutes))
    simulator = Simulator(
        fleet,
        port=port,
        storage_port=port + 1 if port else 0,
        rate_limits=RateLimits(),
        roles=(APPLICATION_ROLE, MACHINE_ROLE),
        client_secret=CLIENT_SECRET,
    )
    if faults_file:
        simulator.faults.load(faults_file)
    with simulator:
        simulator.publish_bundle()
        announce(simulator)
        _go_on(simulator, interval_seconds, stop, wait or stop.wait, advanced)


def _go_on(
    simulator: Simulator,
    interval_seconds: int,
    stop: threading.Event,
    wait: Callable[[float], object],
    advanced: Callable[[Simulator, bool], None] | None,
) -> None:
    """Advance after each wait, until `stop` is set."""
    while not stop.is_set():
        wait(interval_seconds)
        if not stop.is_set():
            is_new = simulator.advance_when_due()
            if advanced:
                advanced(simulator, is_new)
