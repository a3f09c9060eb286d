"""Rules for single values of the configuration: URLs, hosts, names, client keys, secrets that stand in files.

A rule raises ValueError and says what is allowed; `problem_lines` words it for the user, with the key, and never shows
a secret. The presets of the clouds, and the librdkafka keys that the connector sets itself, stand here too.
"""

from __future__ import annotations

import codecs
import difflib
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Severities = dict[
    Literal["installed", "reached", "upcoming", "date_threshold", "cleared"], Literal["low", "medium", "high"]
]
"""`[alerts.severity]`: alert types in lower case, each with the severity that it always gets."""

CLOUDS: Final[dict[str, dict[str, str]]] = {
    "commercial": {
        "authority": "https://login.microsoftonline.com",
        "api_url": "https://api.security.microsoft.com",
        "scope": "https://api.securitycenter.microsoft.com/.default",
        "storage": "blob.core.windows.net",
    },
    "gcc": {
        "authority": "https://login.microsoftonline.com",
        "api_url": "https://api-gcc.securitycenter.microsoft.us",
        "scope": "https://api-gcc.securitycenter.microsoft.us/.default",
        "storage": "blob.core.windows.net",
    },
    "gcc_high": {
        "authority": "https://login.microsoftonline.us",
        "api_url": "https://api-gov.securitycenter.microsoft.us",
        "scope": "https://api-gov.securitycenter.microsoft.us/.default",
        "storage": "blob.core.usgovcloudapi.net",
    },
    "dod": {
        "authority": "https://login.microsoftonline.us",
        "api_url": "https://api-gov.securitycenter.microsoft.us",
        "scope": "https://api-gov.securitycenter.microsoft.us/.default",
        "storage": "blob.core.usgovcloudapi.net",
    },
}
"""Presets by `source.cloud`. Source: Microsoft's pages on the API's endpoints and on US Government customers (2025)."""

LABEL_LENGTH_MAX: Final = 64

OWNED_CLIENT_KEYS: Final = frozenset(
    {
        "transactional.id",
        "enable.idempotence",
        "acks",
        "request.required.acks",
        "isolation.level",
        "group.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "transaction.timeout.ms",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "delivery.report.only.error",
        "enable.partition.eof",
        "allow.auto.create.topics",
        "auto.offset.reset",
        "statistics.interval.ms",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
    }
)
"""Keys of `[kafka.client]` that delivery depends on: the connector sets them, and refuses them here."""

MESSAGE_BYTES_LEAST: Final = 60_000
"""The smallest limit of a message in which every record can be made to fit, whatever texts it has."""

UNVERIFIED_CLIENT_VALUES: Final = {
    "enable.ssl.certificate.verification": frozenset({"false", "f", "0"}),
    "ssl.endpoint.identification.algorithm": frozenset({"none"}),
}
"""Values that make librdkafka accept any broker, because its certificate or its name is then not verified."""

PASSED_FILE_KEYS: Final = frozenset({"sasl.oauthbearer.assertion.private.key.file"})
"""librdkafka's own keys that end in `.file`: passed on, not read."""

SECRET_WORDS: Final = (
    "password",
    "secret",
    "user.info",
    "token",
    "private",
    "ssl.key.pem",
    "jaas",
    "oauthbearer.config",
)
PUBLIC_ENDINGS: Final = ("_file", ".file", "location", "url", "uri")
SECRET_BYTES_MAX: Final = 2**16
SHOWN_MAX: Final = 100
"""Characters of a wrong value that a message shows."""

_PORT_MAX: Final = 65_535
_LABEL_MAX: Final = 63
_PATH_BYTES_MAX: Final = 4096
_PATH_PART_BYTES_MAX: Final = 255

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{1,252}")
_KEY_PREFIX: Final = re.compile(r"[a-z_.]+( \(or [a-z_]+\))?: ")
"""A problem of several values together begins with the key that it is about."""


def check_https_url(url: str) -> str:
    """An https URL of a host, without its last slash."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("must be a URL such as https://api.security.microsoft.com") from error
    odd = (
        parts.username is not None
        or parts.netloc.endswith(":")
        or "?" in url
        or "#" in url
        or any(not "!" <= mark <= "~" for mark in url)
    )
    if parts.scheme != "https" or not _is_host(parts.hostname or "") or odd or port == 0 or "\\" in url:
        raise ValueError("must be an https URL without user name, query or fragment")
    return url.rstrip("/")


def check_host(name: str) -> str:
    """A host name, `*.suffix` or an IP address, in lower case."""
    if not _is_host(name.removeprefix("*.")) or (name.startswith("*.") and _is_address(name[2:])):
        raise ValueError("must be a host name, *.suffix or an IP address, without scheme, port or path")
    return name.lower().strip("[]")


def check_label(name: str) -> str:
    """A name for people, of one line: it stands in metrics, logs and tables."""
    if len(name) > LABEL_LENGTH_MAX or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"may have up to {LABEL_LENGTH_MAX} printable characters, and no blanks at its beginning and end"
        )
    return name


def check_kafka_name(name: str) -> str:
    """A name that Kafka accepts; empty is fine where the key has a default."""
    if name and not _NAME.fullmatch(name):
        raise ValueError("may have up to 200 letters, digits, dots, underscores and hyphens")
    return name


def check_listen(listen: str) -> str:
    """An address to listen on: a host name or IP address, a colon and a port."""
    host, _, port = listen.rpartition(":")
    # An underscore is not for the Internet's names, and common in those of containers.
    is_host = _is_host(host.replace("_", "-")) and all(0 < len(label) <= _LABEL_MAX for label in host.split("."))
    if not is_host or re.fullmatch("[0-9]{1,5}", port) is None or int(port) > _PORT_MAX:
        raise ValueError(
            f"must be host:port, with a host name or IP address and a port of 0 to {_PORT_MAX}{shown(listen)}"
        )
    return listen


def check_network(text: str) -> str:
    """An IP address, or a network such as 10.0.0.0/8."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"must be an IP address, or a network such as 10.0.0.0/8{shown(text)}") from error
    return text


def check_site(text: str) -> str:
    """A host name or IP address as browsers ask for it, with a port where they do."""
    name, _, port = text.rpartition(":") if re.fullmatch(r".*:[0-9]{1,5}", text) else (text, "", "0")
    if not _is_host(name) or int(port) > _PORT_MAX:
        raise ValueError(f"must be a host name or IP address, with a port where browsers name one{shown(text)}")
    return text.lower()


def check_header_name(text: str) -> str:
    """The name of an HTTP header."""
    if re.fullmatch("[A-Za-z0-9-]{1,64}", text) is None:
        raise ValueError(f"must be the name of a header, such as X-Forwarded-User{shown(text)}")
    return text


def find_console_problems(listen: str, *, tls: bool, proxies: bool, sites: bool) -> list[str]:
    """What stands against serving the console on an address.

    Args:
        listen: host and port.
        tls: whether it has a certificate.
        proxies: whether a trusted proxy stands before it.
        sites: whether it is said by what names it is reached.
    """
    host = listen.rpartition(":")[0].strip("[]")
    if is_loopback(host):
        return []
    problems = []
    if not (tls or proxies):
        problems.append(
            "listen: can be reached from elsewhere: set tls_certificate_path and tls_key_path, or name the proxy before"
            " it in trusted_proxies; or listen on 127.0.0.1:8787 and forward the port with ssh -L"
        )
    if not sites and (not _is_address(host) or ipaddress.ip_address(host).is_unspecified):
        problems.append("allowed_hosts: is needed with this listen: the names by which browsers reach the console")
    return problems


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback)


def check_path(path: object) -> object:
    """A path that the system can be asked about."""
    text = str(path)
    if "\0" in text:
        raise ValueError(f"must be a path without NUL characters{shown(text)}")
    if len(os.fsencode(text)) >= _PATH_BYTES_MAX or any(
        len(os.fsencode(part)) > _PATH_PART_BYTES_MAX for part in Path(text).parts
    ):
        raise ValueError(
            f"must be a path of less than {_PATH_BYTES_MAX} bytes, none of its parts longer than"
            f" {_PATH_PART_BYTES_MAX}{shown(text)}"
        )
    return path


def check_file_path(path: object) -> object:
    """A path that names a file: neither nothing nor a folder such as `.`, `..` or `/`."""
    if isinstance(path, str | Path) and (Path(path).name in ("", "..") or str(path).endswith("/")):
        raise ValueError(f"must name a file, such as state.duckdb{shown(str(path))}")
    return check_path(path)


def find_file_problem(path: str) -> str:
    """Why a file cannot be read; "" where it can."""
    try:
        with Path(path).open("rb"):
            return ""
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"


def shown(value: object) -> str:
    """A wrong value for the end of a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits in full.
        return " (is a number of thousands of digits)"
    return f" (is {text})" if len(text) <= SHOWN_MAX else f" (begins {text[:SHOWN_MAX]}…)"


def check_client_value(value: object) -> object:
    """A value that librdkafka can be given, as its settings are text, numbers, true and false."""
    if isinstance(value, str | int | float):
        return value
    advice = (
        'a key with dots stands in quotes, "sasl.username"'
        if isinstance(value, Mapping)
        else "several values are one text, with commas"
    )
    raise ValueError(f"must be text, a number, true or false; {advice}")


def with_dots(table: Mapping[str, Any]) -> dict[str, Any]:
    """Client keys as librdkafka writes them. Environment variables have no dots: `SASL_PASSWORD` is `sasl.password`."""
    return {str(key).replace("_", "."): value for key, value in table.items()}


def as_json_list(text: str) -> str:
    """A list from the environment, as JSON: it may also be written with commas."""
    items = [item.strip() for item in text.split(",")]
    return text if text.lstrip().startswith("[") else json.dumps([item for item in items if item])


def drop_overridden(values: Mapping[str, Any], variables: Iterable[str]) -> dict[str, Any]:
    """The file's tables, less each secret that a variable gives in the other way: as a value, or as a file.

    Args:
        values: the tables of the file.
        variables: names of variables without their prefix, in lower case: `source__client_secret_file`.
    """
    given = set(variables)

    def is_overridden(name: str) -> bool:
        name = name.replace(".", "_")
        return name.removesuffix("_file") in given if name.endswith("_file") else f"{name}_file" in given

    def keep(table: Mapping[str, Any], place: str) -> dict[str, Any]:
        return {
            key: keep(value, f"{place}{key}__") if isinstance(value, dict) else value
            for key, value in table.items()
            if not is_overridden(f"{place}{key}")
        }

    return keep(values, "")


def over_defaults(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A file's tables over those that it shares with others. Its own keys win, a secret however either gives it."""

    def names(table: Mapping[str, Any], place: str = "") -> Iterator[str]:
        for key, value in table.items():
            if isinstance(value, dict):
                yield from names(value, f"{place}{key}__")
            else:
                yield f"{place}{key}".replace(".", "_").lower()

    def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
        both = {
            key: merge(lower[key], value)
            for key, value in upper.items()
            if isinstance(value, dict) and isinstance(lower.get(key), dict)
        }
        return {**lower, **upper, **both}

    return merge(drop_overridden(defaults, names(own)), own)


def refuse(problems: list[str]) -> None:
    """Raise a ValueError that names all problems of a table, a line each; nothing where there are none."""
    if problems:
        raise ValueError("\n".join(problems))


def is_tenant(text: str) -> bool:
    """Whether it can be a tenant's GUID or domain name."""
    return _TENANT.fullmatch(text) is not None


def is_secret(key: str) -> bool:
    """Whether a key's value must never be shown."""
    name = key.lower()
    return any(word in name for word in SECRET_WORDS) and not name.endswith(PUBLIC_ENDINGS)


def read_secret_files(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """The secrets that stand in files: for each key whose `<key>_file` is given, the content of that file."""
    return {key: read_secret(key, values[f"{key}_file"]) for key in keys if values.get(f"{key}_file")}


def read_client_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A client's table, its keys dotted, with every `<secret>_file` read, and a list of brokers as one text."""
    read = {}
    for key, value in with_dots(table).items():
        name = key.removesuffix(".file")
        is_file = name != key and key not in PASSED_FILE_KEYS and is_secret(name)
        if name == "bootstrap.servers" and isinstance(value, list) and all(isinstance(item, str) for item in value):
            read[name] = ",".join(value)
            continue
        read[name if is_file else key] = read_secret(name, value) if is_file else value
    return read


def client_problems(client: Mapping[str, Any], *, tokens: bool = False) -> list[str]:
    """The settings of `[kafka.client]` that the connector cannot work with, a line each.

    Args:
        client: the table.
        tokens: whether the connector itself logs in, with tokens.
    """
    problems = []
    if not client.get("bootstrap.servers"):
        problems.append("client.bootstrap.servers: is needed, for instance localhost:9092")
    problems += [f"client.{key}: set by the connector, remove it here" for key in sorted(OWNED_CLIENT_KEYS & {*client})]
    for key, off in UNVERIFIED_CLIENT_VALUES.items():
        if str(client.get(key, "")).strip().lower() in off:
            problems.append(
                f"client.{key}: must not turn the verification of brokers off (name their authority in ssl.ca.location)"
            )
    method = str(client.get("sasl.oauthbearer.method", "default"))
    mechanism = str(client.get("sasl.mechanism", client.get("sasl.mechanisms", "")))
    if not tokens and mechanism.upper() == "OAUTHBEARER" and method.lower() != "oidc":
        problems.append(
            "client.sasl.oauthbearer.method: must be oidc where sasl.mechanism is OAUTHBEARER (without it"
            " librdkafka would use an unsecured token); or let kafka.auth choose the login"
        )
    return problems


def read_secret(key: str, path: object) -> str:
    """A secret from its file, without a byte order mark and the last line break."""
    try:
        with Path(str(path)).open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        name = path if str(path).isprintable() else repr(path)
        raise ValueError(f"{key}_file: cannot read {name}: {reason}") from error
    if len(content) > SECRET_BYTES_MAX:
        raise ValueError(f"{key}_file: cannot read {path}: longer than {SECRET_BYTES_MAX} bytes")
    try:
        return decode(content).removesuffix("\n").removesuffix("\r")
    except ValueError as error:
        raise ValueError(f"{key}_file: cannot read {path}: {error}") from None


def decode(content: bytes) -> str:
    """UTF-8 text, without the byte order mark that programs of Windows begin a file with.

    Raises:
        ValueError: it is no UTF-8 text; the message shows nothing of it.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("not UTF-8 text but UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    if "\0" in text:
        raise ValueError("not UTF-8 text: it has a NUL character (UTF-16 looks like that)")
    return text


def problem_lines(problem: Mapping[str, Any], allowed_keys: Callable[[tuple[Any, ...]], list[str]]) -> list[str]:
    """Word a problem as `key: what is wrong`, with the value unless it is secret; a table may have several problems.

    Args:
        problem: as the validation library reports it: `loc`, `type`, `msg`, `input`.
        allowed_keys: gives the keys allowed at a place, to suggest one.
    """
    place = ".".join(str(part) for part in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), allowed_keys(problem["loc"][:-1]), n=1)
        return [f"{place}: no such key" + (f"; did you mean {near[0]}?" if near else "")]
    if problem["type"] == "missing":
        return [f"{place}: is missing"]
    if problem["type"] == "value_error":
        if not place:
            return text.splitlines()
        return [f"{place}.{line}" if _KEY_PREFIX.match(line) else f"{place}: {line}" for line in text.splitlines()]
    # What stands in a table's place may be any of its values, a secret one included.
    is_table = problem["type"] in ("dict_type", "model_type", "model_attributes_type")
    is_hidden = is_secret(place) or is_table or isinstance(problem["input"], dict | list)
    return [f"{place}: {text[:1].lower()}{text[1:]}{'' if is_hidden else shown(problem['input'])}"]


def _is_host(name: str) -> bool:
    return _is_address(name) or _HOST.fullmatch(name) is not None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
