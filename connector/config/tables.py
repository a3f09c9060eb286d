"""The tables of the configuration: every key with its type, default and range, and the values derived from them.

A default stands here and nowhere else: what the rest of the connector is given has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic import model_validator as checked
from pydantic_settings import BaseSettings, SettingsConfigDict

from connector.config import broker_login, event_hubs, values
from connector.config.transactional_ids import TOPIC_PREFIX, default_transactional_id
from connector.errors import ConfigError
from connector.exports.software import SOFTWARE
from connector.model import Topic

PREFIX: Final = "MDE_INVENTORY_"

HttpsUrl = Annotated[str, AfterValidator(values.check_https_url)]
Host = Annotated[str, AfterValidator(values.check_host)]
KafkaName = Annotated[str, AfterValidator(values.check_kafka_name)]
AnyPath = Annotated[Path, BeforeValidator(values.check_path)]
PathText = Annotated[str, BeforeValidator(values.check_path)]
ClientTable = dict[str, Annotated[str | int | float | bool, BeforeValidator(values.check_client_value)]]


def _named(shares: dict[str, float]) -> dict[str, float]:
    """The shares under the names of the fields, which the environment may spell in any case."""
    names = {field.name.lower(): field.name for field in SOFTWARE.attributes}
    unknown = [name for name in shares if name.lower() not in names]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: allowed are {', '.join(names.values())}")
    return {names[name.lower()]: share for name, share in shares.items()}


FieldShares = Annotated[dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]], AfterValidator(_named)]

CHANGED_SHARES: Final = {
    "deviceName": 0.5,
    "osPlatform": 0.5,
    "softwareFirstSeenTimestamp": 0.5,
    "endOfSupportStatus": 0.5,
    "endOfSupportDate": 0.5,
}
"""Fields that no real event changes on half of a fleet's records at once, unless `guard.max_changed_share` says so.

The others do: a batch of CVEs moves weakness counts, an updater moves paths, and groups are redrawn.
"""

Delivery = Literal["exactly_once", "at_least_once"]
"""How messages reach Kafka: in transactions, or before the checkpoint that confirms them."""

ValueFormat = Literal["avro", "json"]
"""What the value of a message is: Avro with a schema registry, or JSON without."""


class Table(BaseModel):
    """One table of the file: frozen; unknown keys are errors; secrets are never shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @checked(mode="before")
    @classmethod
    def _read_secret_files(cls, given: object) -> object:
        """Replace every `<secret>_file` by the file's content without its final newline."""
        if not isinstance(given, dict):
            return given
        keys = [name for name in cls.model_fields if f"{name}_file" in cls.model_fields]
        return {**given, **values.read_secret_files(given, keys)}


class SourceConfig(Table):
    """`[source]`: the export API and how to sign in."""

    tenant_id: str
    tenant_name: Annotated[str, AfterValidator(values.check_label)] = ""
    client_id: str = ""
    auth: Literal["client_secret", "certificate", "workload_identity", "managed_identity", "device_code"] = (
        "client_secret"
    )
    client_secret: SecretStr | None = None
    client_secret_file: AnyPath | None = None
    certificate_path: AnyPath | None = None
    certificate_password: SecretStr | None = None
    certificate_password_file: AnyPath | None = None
    federated_token_file: AnyPath | None = None
    method: Literal["auto", "files", "json"] = "auto"
    cloud: Literal["commercial", "gcc", "gcc_high", "dod"] = "commercial"
    authority: HttpsUrl = ""
    api_url: HttpsUrl = ""
    scope: str = ""
    allowed_hosts: tuple[Host, ...] = ()
    ca_bundle: PathText = ""
    page_size: int = Field(default=50_000, ge=1, le=200_000)
    sas_valid_hours: int = Field(default=6, ge=1, le=6)
    download_parallelism: int = Field(default=4, ge=1, le=64)
    include_non_cpe: bool = False
    device_facts: bool = False

    @checked(mode="before")
    @classmethod
    def _fill_cloud(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        preset = values.CLOUDS.get(str(given.get("cloud", "commercial")), values.CLOUDS["commercial"])
        return {**{key: preset[key] for key in ("authority", "api_url", "scope")}, **given}

    @checked(mode="after")
    def _check_together(self) -> Self:
        problems = []
        if not values.is_tenant(self.tenant_id):
            problems.append("tenant_id: must be the tenant's GUID or one of its domain names")
        if self.auth != "managed_identity" and not self.client_id:
            problems.append(f"client_id: is needed where auth is {self.auth}")
        if self.auth == "client_secret" and not (self.client_secret and self.client_secret.get_secret_value()):
            problems.append("client_secret (or client_secret_file): is needed where auth is client_secret")
        if self.auth == "certificate" and self.certificate_path is None:
            problems.append("certificate_path: is needed where auth is certificate")
        if not (self.scope.startswith("https://") and self.scope.endswith("/.default")):
            problems.append("scope: must be an https URL that ends in /.default")
        if self.ca_bundle and (reason := values.find_file_problem(self.ca_bundle)):
            problems.append(f"ca_bundle: {reason}")
        values.refuse(problems)
        return self

    @property
    def storage_suffix(self) -> str:
        """The suffix of the cloud's storage hosts, which pre-signed URLs may name without being listed."""
        return values.CLOUDS[self.cloud]["storage"]


class PollConfig(Table):
    """`[poll]`: when to poll."""

    interval_seconds: int = Field(default=3600, ge=1, le=604_800)
    stale_after_hours: int = Field(default=24, ge=1, le=1_000_000)


class StateConfig(Table):
    """`[state]`: the state file and its limits."""

    path: Annotated[Path, BeforeValidator(values.check_file_path)] = Path("state.duckdb")
    staging_dir: PathText = ""
    memory_limit_mib: int = Field(default=768, ge=128, le=16_777_216)
    memory_budget_mib: int = Field(default=0, ge=0, le=16_777_216)
    threads: int = Field(default=0, ge=0, le=1024)
    journal_retention_days: int = Field(default=90, ge=1, le=36_500)
    max_pending: int = Field(default=50_000_000, ge=1, le=1_000_000_000_000)

    @property
    def staging_path(self) -> Path:
        """The folder that snapshots are fetched to: `staging_dir`, or one beside the state file."""
        return Path(self.staging_dir) if self.staging_dir else self.path.with_name(self.path.name + ".staging")

    @property
    def rejected_path(self) -> Path:
        """The folder beside the state file that takes lines which cannot be read."""
        return self.path.with_name("rejected")

    @property
    def limits_path(self) -> Path:
        """The file that records API calls, so that the published rate limits hold across restarts."""
        return self.path.with_name(self.path.name + ".limits.json")


class EngineConfig(Table):
    """`[engine]`: what compares a snapshot with the inventory; `path` and `spark` are for Spark alone."""

    name: Literal["duckdb", "spark"] = "duckdb"
    path: str = ""
    spark: ClientTable = Field(default={}, repr=False)

    @checked(mode="before")
    @classmethod
    def _read_spark_secret_files(cls, given: object) -> object:
        if not isinstance(given, dict) or not isinstance(given.get("spark"), dict):
            return given
        return {**given, "spark": values.read_client_table(given["spark"])}


class DiffConfig(Table):
    """`[diff]`: what counts as a change."""

    baseline: Literal["silent", "emit"] = "silent"
    pair_versions: bool = True
    fold_lookalikes: bool = False
    ignore_fields: tuple[str, ...] = ()

    @checked(mode="after")
    def _check_fields(self) -> Self:
        known = [field.name for field in SOFTWARE.attributes]
        unknown = [name for name in self.ignore_fields if name not in known]
        if unknown:
            raise ValueError(f"ignore_fields: {', '.join(unknown)}: allowed are {', '.join(known)}")
        return self


class GuardConfig(Table):
    """`[guard]`: what is published, and what is held for review."""

    max_removed_share: float = Field(default=0.15, ge=0, le=1, allow_inf_nan=False)
    min_removed: int = Field(default=100, ge=0, le=1_000_000_000_000)
    missing_device_snapshots: int = Field(default=2, ge=1, le=1_000_000)
    max_baseline_rejected: int = Field(default=0, ge=0, le=1_000_000_000_000)
    max_changed_share: FieldShares = {}
    min_changed: int = Field(default=100, ge=0, le=1_000_000_000_000)
    max_added_share: float = Field(default=0.5, ge=0, le=1_000_000, allow_inf_nan=False)
    min_added: int = Field(default=100, ge=0, le=1_000_000_000_000)

    @property
    def changed_shares(self) -> dict[str, float]:
        """Of each field, the share of the records on which it may change in one snapshot; 1: of all of them."""
        return {field.name: 1.0 for field in SOFTWARE.attributes} | CHANGED_SHARES | self.max_changed_share


class AlertsConfig(Table):
    """`[alerts]`: end-of-support alerts."""

    enabled: bool = True
    on_baseline: bool = False
    date_thresholds_days: tuple[Annotated[int, Field(ge=0, le=3650)], ...] = (90, 30, 7, 0)
    summarize_above: int = Field(default=100, ge=0, le=1_000_000_000_000)
    severity: values.Severities = {}


class CampaignsConfig(Table):
    """`[campaigns]`: one message for what happened to many devices in a snapshot."""

    enabled: bool = False
    min_devices: int = Field(default=10, ge=2, le=1_000_000_000_000)


class KafkaConfig(Table):
    """`[kafka]`: topics, delivery, and the settings passed to librdkafka."""

    topic_prefix: KafkaName = Field(default=TOPIC_PREFIX, min_length=1)
    value_format: ValueFormat = "avro"
    delivery: Delivery = "exactly_once"
    transactional_id: KafkaName = ""
    auth: broker_login.BrokerAuth = "client"
    auth_client_id: str = ""
    auth_tenant_id: str = ""
    auth_scope: str = ""
    auth_region: str = ""
    message_bytes_max: int = Field(default=0, ge=0, le=1_000_000_000)
    inventory_topic: bool = False
    batch_changes_max: int = Field(default=10_000, ge=1, le=20_000)
    client: ClientTable = Field(repr=False)

    @checked(mode="before")
    @classmethod
    def _read_client_secret_files(cls, given: object) -> object:
        if not isinstance(given, dict) or not isinstance(given.get("client"), dict):
            return given
        return {**given, "client": values.read_client_table(given["client"])}

    @checked(mode="after")
    def _check_client(self) -> Self:
        tokens = self.auth != "client"
        login = {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"} if tokens else {}
        problems = broker_login.find_problems(self.auth, self.client, region=self.region, scope=self.scope)
        if not problems:
            problems = event_hubs.find_problems({**self.client, **login})
        if 0 < self.message_bytes_max < values.MESSAGE_BYTES_LEAST:
            problems.append(f"message_bytes_max: must be 0 or at least {values.MESSAGE_BYTES_LEAST}")
        values.refuse([*values.client_problems(self.client, tokens=tokens), *problems])
        return self

    @property
    def region(self) -> str:
        """The region of Amazon MSK: `auth_region`, or the one that the brokers' names say."""
        return self.auth_region or broker_login.region_of(self.client)

    @property
    def scope(self) -> str:
        """The scope of the brokers' tokens: `auth_scope`, or that of the Event Hubs that the brokers' names say."""
        return self.auth_scope or broker_login.scope_of(self.client)


class SchemaRegistryConfig(BaseModel):
    """`[schema_registry]`: where schemas are looked up; other keys pass through to the client.

    The URL is "" where the values are JSON and no registry is named.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    url: str
    auto_register: bool = False

    @checked(mode="before")
    @classmethod
    def _read_secret_files(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        own = {key: value for key, value in given.items() if key in ("url", "auto_register")}
        return {**own, **values.read_client_table({key: value for key, value in given.items() if key not in own})}

    @checked(mode="after")
    def _check_url(self) -> Self:
        for url in map(urlsplit, self.url.split(",") if self.url else []):
            if url.scheme.strip() not in ("http", "https", "mock"):
                raise ValueError("url: must be an http or https URL")
            if "@" in url.netloc:
                raise ValueError("url: must have no user name or password; give basic.auth.user.info instead")
        return self

    @property
    def client(self) -> dict[str, Any]:
        """The settings passed to the client beside the URL."""
        return dict(self.model_extra or {})

    def __repr__(self) -> str:
        return f"SchemaRegistryConfig(url={self.url!r}, auto_register={self.auto_register})"

    __str__ = __repr__


class HttpConfig(Table):
    """`[http]`: where `run` answers /healthz, /readyz and /metrics."""

    listen: Annotated[str, AfterValidator(values.check_listen)] = "127.0.0.1:9464"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class ConsoleConfig(Table):
    """`[console]`: where the pages for people are served, and who may come to them."""

    listen: Annotated[str, AfterValidator(lambda listen: values.check_listen(listen) if listen else listen)] = ""
    allow_decisions: bool = False
    tls_certificate_path: AnyPath | None = None
    tls_key_path: AnyPath | None = None
    trusted_proxies: tuple[Annotated[str, AfterValidator(values.check_network)], ...] = ()
    user_header: Annotated[str, AfterValidator(values.check_header_name)] = "x-forwarded-user"
    allowed_hosts: tuple[Annotated[str, AfterValidator(values.check_site)], ...] = ()

    @checked(mode="after")
    def _check_together(self) -> Self:
        problems = []
        if self.listen and self.tls_key_path and not self.tls_certificate_path:
            problems.append("tls_certificate_path: is needed where tls_key_path is set")
        values.refuse([*problems, *self._find_problems(self.listen)])
        return self

    def listening_on(self, listen: str) -> Self:
        """The same with an address that an option gives.

        Raises:
            ConfigError: it is none, or others could reach it without being known.
        """
        try:
            values.check_listen(listen)
            values.refuse(self._find_problems(listen))
        except ValueError as error:
            lines = [line.removeprefix("listen: ") for line in str(error).splitlines()]
            raise ConfigError(
                f"--listen {listen}: {'; '.join(lines)}", hint="Use 127.0.0.1:8787, or set [console]: docs/console.md."
            ) from error
        return self.model_copy(update={"listen": listen})

    def _find_problems(self, listen: str) -> list[str]:
        if not listen:
            return []
        return values.find_console_problems(
            listen,
            tls=self.tls_certificate_path is not None,
            proxies=bool(self.trusted_proxies),
            sites=bool(self.allowed_hosts),
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return "127.0.0.1" if host == "localhost" else host.strip("[]"), int(port)


class Config(BaseSettings):
    """The whole configuration, checked. `loading.load` makes one."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", hide_input_in_errors=True
    )

    source: SourceConfig
    poll: PollConfig = Field(default_factory=PollConfig)
    state: StateConfig = Field(default_factory=StateConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    diff: DiffConfig = Field(default_factory=DiffConfig)
    guard: GuardConfig = Field(default_factory=GuardConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    campaigns: CampaignsConfig = Field(default_factory=CampaignsConfig)
    kafka: KafkaConfig
    schema_registry: SchemaRegistryConfig
    http: HttpConfig = Field(default_factory=HttpConfig)
    console: ConsoleConfig = Field(default_factory=ConsoleConfig)

    @checked(mode="before")
    @classmethod
    def _need_registry_for_avro(cls, given: object) -> object:
        """Fill in an empty URL of the registry where the values are JSON; without one Avro's is missing."""
        if not isinstance(given, dict):
            return given
        kafka, registry = given.get("kafka"), given.get("schema_registry", {})
        if not isinstance(registry, dict):
            return given
        if isinstance(kafka, dict) and kafka.get("value_format") == "json":
            return {**given, "schema_registry": {"url": "", **registry}}
        if registry.get("url") == "":
            return {**given, "schema_registry": {key: value for key, value in registry.items() if key != "url"}}
        return given

    @checked(mode="after")
    def _check_broker_identity(self) -> Self:
        if self.kafka.auth == "workload_identity" and not self.broker_identity.client_id:
            raise ValueError("kafka.auth_client_id: is needed where kafka.auth is workload_identity")
        return self

    @property
    def broker_identity(self) -> SourceConfig:
        """Who asks Entra ID for the brokers' tokens: what `kafka.auth_…` says, and else `[source]`."""
        kafka, source = self.kafka, self.source
        own = source.client_id if source.auth == kafka.auth else ""
        changed = {
            "auth": kafka.auth,
            "client_id": kafka.auth_client_id or own,
            "tenant_id": kafka.auth_tenant_id or source.tenant_id,
            "scope": kafka.scope,
        }
        return source.model_copy(update=changed)

    @property
    def tables_path(self) -> str:
        """Where Spark keeps the tables of this tenant: below `engine.path`, or in a folder beside the state file."""
        beside = self.state.path.with_name(self.state.path.name + ".delta").absolute()
        return f"{self.engine.path.rstrip('/')}/{self.source.tenant_id}" if self.engine.path else f"file:{beside}"

    @property
    def transactional_id(self) -> str:
        """`kafka.transactional_id`, or one derived from tenant and topic prefix: stable, never random."""
        return self.kafka.transactional_id or default_transactional_id(self.source.tenant_id, self.kafka.topic_prefix)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that are published to."""
        optional = {Topic.INVENTORY: self.kafka.inventory_topic, Topic.CAMPAIGNS: self.campaigns.enabled}
        return tuple(topic for topic in Topic if optional.get(topic, True))

    def with_secrets_of(self, other: Self) -> Self:
        """This configuration with the secrets of another reading of it; whatever else has changed is left as it was."""
        source = {name: getattr(other.source, name) for name in ("client_secret", "certificate_password")}

        def renewed(table: dict[str, Any], again: dict[str, Any]) -> dict[str, Any]:
            return {key: again.get(key, value) if values.is_secret(key) else value for key, value in table.items()}

        client = renewed(self.kafka.client, other.kafka.client)
        registry = renewed(self.schema_registry.client, other.schema_registry.client)
        return self.model_copy(
            update={
                "source": self.source.model_copy(update=source),
                "kafka": self.kafka.model_copy(update={"client": client}),
                "schema_registry": self.schema_registry.model_copy(update=registry),
            }
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for redaction."""
        own = (self.source.client_secret, self.source.certificate_password)
        tables = (self.kafka.client, self.schema_registry.client, self.engine.spark)
        return tuple(secret.get_secret_value() for secret in own if secret) + tuple(
            str(value) for table in tables for key, value in table.items() if values.is_secret(key) and value
        )
