"""The configurations that `run` is given: which files, and whether any two of them would interfere with each other.

All files are read and checked, and every problem is reported, before polling begins.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.config import loading
from connector.config.tables import Config, ConsoleConfig
from connector.errors import ConfigError

SHARING_HINT: Final = (
    "Give each tenant its own state.path (and state.staging_dir, where it is set), and each pair of tenant and"
    " kafka.topic_prefix one configuration. Environment variables hold for all of them."
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One configured tenant.

    Attributes:
        name: in logs, metrics and answers: `source.tenant_name` or else the tenant id; with the topic prefix where that
            is configured twice.
        file: its configuration file.
        config: checked.
        rejected: where its unreadable lines are set aside.
    """

    name: str
    file: Path
    config: Config
    rejected: Path


def files(given: Sequence[Path], environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The configuration files to read: those given, where a folder stands for every `*.toml` in it, by name.

    Its `defaults.toml` is none of them: it has what the others share.

    Where none is given, `$MDE_INVENTORY_CONFIG`, a file or a folder too, and then `./connector.toml`.

    Raises:
        ConfigError: there is none.
    """
    variable = environ.get(loading.CONFIG_VARIABLE)
    paths: Sequence[Path | None] = given or ([Path(variable)] if variable else [None])
    return [file for path in paths for file in _files_of(path, environ)]


def only(given: Sequence[Path], environ: Mapping[str, str] = os.environ) -> Path:
    """The one configuration file, for verbs that take no more.

    Raises:
        ConfigError: there are several, or none.
    """
    paths = files(given, environ)
    if len(paths) > 1:
        raise ConfigError(
            "\n".join([f"this verb takes one configuration, and here are {len(paths)}:", *(f"  {p}" for p in paths)]),
            hint="Choose one with --tenant. `run`, `console`, `mcp`, `check`, `setup`, `status` and `held list` take"
            " several.",
        )
    return paths[0]


def named(given: Sequence[Path], name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The configuration file of one tenant of several: by its name, its tenant id or its file's name, in any case.

    A file that is not valid stands in nobody's way but its own tenant's.

    Raises:
        ConfigError: it is nobody's name, or that of several; or it is that of an invalid file.
    """
    paths = files(given, environ)
    names = {path: _names_in(path, environ) for path in paths}
    matching = [path for path in paths if name.lower() in {known.lower() for known in names[path]}]
    if len(matching) == 1:
        return matching[0]
    listed = [f"  {path}: {', '.join(names[path])}" for path in matching or paths]
    problem = f"{len(matching)} tenants are called {name}:" if matching else f"no tenant is called {name}; there are:"
    raise ConfigError("\n".join([problem, *listed]), hint="Name the tenant by what is unique here: its file, say.")


def _names_in(path: Path, environ: Mapping[str, str]) -> list[str]:
    """What the tenant of a file is called, the file's own name first; that alone where the file is not valid."""
    try:
        config = loading.load(path, environ)
    except ConfigError:
        return [path.stem]
    own, known = config.source, [path.stem]
    known += [name for name in (own.tenant_name, own.tenant_id) if name and name not in known]
    return [*known, f"{_name_of(config)}/{config.kafka.topic_prefix}"]


def load(given: Sequence[Path], environ: Mapping[str, str] = os.environ) -> list[Tenant]:
    """Read all configurations, and check each on its own and all of them side by side.

    Raises:
        ConfigError: with every problem of every file, a line each.
    """
    paths = files(given, environ)
    configs = _load_all(paths, environ)
    if len(configs) < len(paths):
        twice = [str(path) for path, number in Counter(paths).items() if number > 1]
        raise ConfigError(f"named twice: {', '.join(twice)}", hint="Name each configuration once.")
    problems = [*_find_shared(configs), *_find_listen_conflicts(configs), *_find_budget_conflicts(configs)]
    if problems:
        raise ConfigError("\n".join(problems), hint=SHARING_HINT)
    names = Counter(_name_of(config).lower() for config in configs.values())
    folders = Counter(config.state.rejected_path.resolve() for config in configs.values())
    return [
        Tenant(
            name=_name_of(config)
            if names[_name_of(config).lower()] == 1
            else f"{_name_of(config)}/{config.kafka.topic_prefix}",
            file=file,
            config=config,
            # Tenants whose state files lie in one folder must not remove each other's.
            rejected=config.state.rejected_path
            if folders[config.state.rejected_path.resolve()] == 1
            else config.state.rejected_path / config.state.path.name,
        )
        for file, config in configs.items()
    ]


def listen_of(tenants: Sequence[Tenant]) -> tuple[str, int]:
    """The address of health and metrics for all tenants: the one that a configuration sets, or the default."""
    tables = [tenant.config.http for tenant in tenants if _sets_listen(tenant.config)]
    return (tables or [tenant.config.http for tenant in tenants])[0].address


def memory_budget_of(tenants: Sequence[Tenant]) -> int:
    """MiB that the comparisons of all tenants have together; 0 where each has its own limit alone."""
    return max(tenant.config.state.memory_budget_mib for tenant in tenants)


def console_of(tenants: Sequence[Tenant]) -> ConsoleConfig:
    """`[console]` for all tenants: the one that a configuration sets, or the default."""
    return next((tenant.config.console for tenant in tenants if _sets_console(tenant.config)), ConsoleConfig())


def _files_of(path: Path | None, environ: Mapping[str, str]) -> list[Path]:
    if path is None or not os.path.isdir(path):  # noqa: PTH112 - this one is quiet about a folder that it may not enter
        return [loading.find(path, environ)]
    try:
        paths = sorted(file for file in path.iterdir() if _is_configuration(file))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint="It must be a folder to list.") from error
    if not paths:
        raise ConfigError(f"{path}: no *.toml file in this folder", hint="Put a configuration there for each tenant.")
    return paths


def _is_configuration(file: Path) -> bool:
    return file.suffix == ".toml" and not file.name.startswith(".") and file.name != loading.DEFAULTS_FILE


def _load_all(paths: Sequence[Path], environ: Mapping[str, str]) -> dict[Path, Config]:
    configs, errors = {}, []
    for path in paths:
        try:
            configs[path] = loading.load(path, environ)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigError("\n".join(map(str, errors)), hint=errors[0].hint)
    return configs


def _tenant_id(config: Config) -> str:
    return config.source.tenant_id.lower()


def _name_of(config: Config) -> str:
    return config.source.tenant_name or config.source.tenant_id


def _find_shared(configs: Mapping[Path, Config]) -> Iterator[str]:
    """What two configurations would share and must not, a line each that names both files."""
    owners: dict[tuple[str, str], Path] = {}
    for file, config in configs.items():
        own = {
            "state.path": str(config.state.path.resolve()),
            "the staging folder": str(config.state.staging_path.resolve()),
            "kafka.transactional_id": config.transactional_id,
            "source.tenant_id and kafka.topic_prefix": f"{_tenant_id(config)}, {config.kafka.topic_prefix}",
        }
        if config.source.tenant_name:
            # Else their metrics would be one series.
            named = f"{config.source.tenant_name.lower()}, {config.kafka.topic_prefix}"
            own["source.tenant_name and kafka.topic_prefix"] = named
        for name, value in own.items():
            other = owners.setdefault((name, value), file)
            if other is not file:
                yield f"{other} and {file}: {name} is the same in both: {value}"


def _find_listen_conflicts(configs: Mapping[Path, Config]) -> Iterator[str]:
    """One process listens on one address, so two configurations must not set different ones."""
    addresses = {file: config.http.listen for file, config in configs.items() if _sets_listen(config)}
    if len(set(addresses.values())) > 1:
        listed = ", ".join(f"{listen} in {file}" for file, listen in addresses.items())
        yield f"http.listen: one process listens once, and here are {listed}; set it in one of them, or alike in all"
    consoles = {file: config.console for file, config in configs.items() if _sets_console(config)}
    if len({console.model_dump_json() for console in consoles.values()}) > 1:
        listed = ", ".join(str(file) for file in consoles)
        yield f"[console]: one process has one console, and it differs in {listed}; set it in one of them, or alike"


def _sets_console(config: Config) -> bool:
    return bool(config.console.model_fields_set)


def _find_budget_conflicts(configs: Mapping[Path, Config]) -> Iterator[str]:
    """One process has one budget of memory, and it is enough for each tenant's comparison alone."""
    budgets = {file: config.state.memory_budget_mib for file, config in configs.items() if _sets_budget(config)}
    if len(set(budgets.values())) > 1:
        listed = ", ".join(f"{budget} in {file}" for file, budget in budgets.items())
        yield f"state.memory_budget_mib: one process has one budget, and here are {listed}; set it in defaults.toml"
    budget = max(budgets.values(), default=0)
    for file, config in configs.items():
        if 0 < budget < (needed := config.state.memory_limit_mib):
            yield f"{file}: state.memory_limit_mib is {needed}, more than the state.memory_budget_mib of all, {budget}"


def _sets_budget(config: Config) -> bool:
    return "memory_budget_mib" in config.state.model_fields_set


def _sets_listen(config: Config) -> bool:
    return "listen" in config.http.model_fields_set
