"""The configurations that `run` is given: which files, and that no two of them would get in each other's way.

Owns what tenants of one process must not share. Each file is `config`'s to read; everything is read and checked, and
every problem told, before anything begins.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.config import tables as config
from connector.config.tables import Config
from connector.errors import ConfigError

SHARING_HINT: Final = (
    "Give each tenant a state.path (and state.staging_dir, where it is set) of its own, and each pair of tenant and"
    " kafka.topic_prefix one configuration. Environment variables hold for all of them."
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One configured tenant.

    Attributes:
        name: in logs, metrics and answers: its tenant id, with the topic prefix where the id is configured twice.
        file: its configuration's.
        config: checked.
        rejected: where its unreadable lines are set aside.
    """

    name: str
    file: Path
    config: Config
    rejected: Path


def files(given: Sequence[Path], environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The configuration files that are meant: those given, a folder standing for every `*.toml` in it by name.

    Where none is given, `$MDE_INVENTORY_CONFIG`, a file or a folder too, and then `./connector.toml`.

    Raises:
        ConfigError: there is none.
    """
    variable = environ.get(config.CONFIG_VARIABLE)
    named: Sequence[Path | None] = given or ([Path(variable)] if variable else [None])
    return [file for path in named for file in _files_of(path, environ)]


def only(given: Sequence[Path], environ: Mapping[str, str] = os.environ) -> Path:
    """The one configuration file, for verbs that take no more.

    Raises:
        ConfigError: there are several, or none.
    """
    found = files(given, environ)
    if len(found) > 1:
        raise ConfigError(
            "\n".join([f"this verb takes one configuration, and here are {len(found)}:", *(f"  {f}" for f in found)]),
            hint="Name one of them with --config. Only `run` takes several.",
        )
    return found[0]


def load(given: Sequence[Path], environ: Mapping[str, str] = os.environ) -> list[Tenant]:
    """Read and check all configurations, each by itself and then side by side.

    Raises:
        ConfigError: with every problem of every file, a line each.
    """
    found, problems = {}, []
    for file in (named := files(given, environ)):
        try:
            found[file] = config.load(file, environ)
        except ConfigError as error:
            problems.append(error)
    if problems:
        raise ConfigError("\n".join(map(str, problems)), hint=problems[0].hint)
    if len(found) < len(named):
        twice = [str(file) for file, number in Counter(named).items() if number > 1]
        raise ConfigError(f"named twice: {', '.join(twice)}", hint="Name each configuration once.")
    shared = [line for what in (_kept_apart, _listen) for line in what(found)]
    if shared:
        raise ConfigError("\n".join(shared), hint=SHARING_HINT)
    ids = Counter(_tenant(one) for one in found.values())
    folders = Counter(one.state.rejected_path.resolve() for one in found.values())
    return [
        Tenant(
            name=one.source.tenant_id if ids[_tenant(one)] == 1 else f"{one.source.tenant_id}/{one.kafka.topic_prefix}",
            file=file,
            config=one,
            # Tenants whose state files lie in one folder must not remove each other's.
            rejected=one.state.rejected_path
            if folders[one.state.rejected_path.resolve()] == 1
            else one.state.rejected_path / one.state.path.name,
        )
        for file, one in found.items()
    ]


def listen_of(tenants: Sequence[Tenant]) -> tuple[str, int]:
    """Where health and metrics of all are answered: what one of them sets, or the default."""
    given = [tenant.config.http for tenant in tenants if _sets_listen(tenant.config)]
    return (given or [tenant.config.http for tenant in tenants])[0].address


def _files_of(path: Path | None, environ: Mapping[str, str]) -> list[Path]:
    if path is None or not path.is_dir():
        return [config.find(path, environ)]
    try:
        found = sorted(file for file in path.iterdir() if file.suffix == ".toml" and not file.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint="It must be a folder to list.") from error
    if not found:
        raise ConfigError(f"{path}: no *.toml file in this folder", hint="Put a configuration there for each tenant.")
    return found


def _tenant(one: Config) -> str:
    return one.source.tenant_id.lower()


def _kept_apart(found: Mapping[Path, Config]) -> Iterator[str]:
    """What two configurations would share and must not, a line each, both named."""
    seen: dict[tuple[str, str], Path] = {}
    for file, one in found.items():
        own = {
            "state.path": str(one.state.path.resolve()),
            "the staging folder": str(one.state.staging_path.resolve()),
            "kafka.transactional_id": one.transactional_id,
            "source.tenant_id and kafka.topic_prefix": f"{_tenant(one)}, {one.kafka.topic_prefix}",
        }
        for what, value in own.items():
            other = seen.setdefault((what, value), file)
            if other is not file:
                yield f"{other} and {file}: {what} is the same in both: {value}"


def _listen(found: Mapping[Path, Config]) -> Iterator[str]:
    """One process answers on one address."""
    given = {file: one.http.listen for file, one in found.items() if _sets_listen(one)}
    if len(set(given.values())) > 1:
        told = ", ".join(f"{listen} in {file}" for file, listen in given.items())
        yield f"http.listen: one process listens once, and here are {told}; set it in one of them, or alike in all"


def _sets_listen(one: Config) -> bool:
    return "listen" in one.http.model_fields_set
