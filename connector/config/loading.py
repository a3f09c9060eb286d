"""Reads the configuration: a TOML file, with environment variables over it, checked as a whole.

Every problem is reported at once, a line each, and no line shows a secret.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from connector.config.service_links import find_service_links
from connector.config.tables import PREFIX, Config
from connector.config.values import as_json_list, decode, drop_overridden, over_defaults, problem_lines
from connector.errors import ConfigError
from connector.wording import counted

CONFIG_VARIABLE: Final = "MDE_INVENTORY_CONFIG"
DEFAULT_FILE: Final = "connector.toml"
DEFAULTS_FILE: Final = "defaults.toml"
"""Beside configurations: the keys that they share, unless one of them says otherwise."""


def find(path: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The configuration file: the given one, `$MDE_INVENTORY_CONFIG`, or `./connector.toml`.

    Raises:
        ConfigError: it does not exist.
    """
    named = path or environ.get(CONFIG_VARIABLE)
    file = Path(named or DEFAULT_FILE)
    if not _is_there(file):
        place = str(file) if named else f"./{DEFAULT_FILE}, and neither --config nor ${CONFIG_VARIABLE} is given"
        raise ConfigError(
            f"no configuration file at {place}",
            hint="`mde-inventory init` writes one; `mde-inventory demo` needs none.",
        )
    return file


def _is_there(file: Path) -> bool:
    """Whether there is a file, or something that cannot be looked at, of which reading it says why."""
    try:
        return file.is_file()
    except OSError:
        return True


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Read, merge and check the configuration.

    Raises:
        ConfigError: with every problem, a line each.
    """
    file = find(path, environ)
    shared = shared_file(file)
    values = over_defaults(_read(shared), _read(file)) if shared else _read(file)
    return from_values(values, environ, name=str(file))


def shared_file(file: Path) -> Path | None:
    """The file of defaults that a configuration shares with the others of its folder; None where there is none."""
    shared = file.with_name(DEFAULTS_FILE)
    return shared if file.name != DEFAULTS_FILE and os.path.isfile(shared) else None  # noqa: PTH113 - quiet where it may not look


def _read(file: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError."""
    try:
        return tomllib.loads(decode(file.read_bytes()).replace("\r\n", "\n").replace("\r", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}", hint="Correct the line it names.") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not valid TOML: nested too deeply", hint="Values are one level deep.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}", hint="It must be a UTF-8 text file.") from error


def from_values(values: Mapping[str, Any], environ: Mapping[str, str], *, name: str) -> Config:
    """Check tables that are given, with the environment over them.

    Raises:
        ConfigError: with every problem, a line each.
    """
    links = find_service_links(environ, PREFIX)
    stray = [key for key in environ if key.startswith(PREFIX) and not _names_a_table(key) and key not in links]

    class _Config(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """The environment overrides the file; there are no other sources."""
            del env_settings, dotenv_settings, file_secret_settings
            return _Environment(settings_cls, environ), init_settings

    try:
        config = _Config(**drop_overridden(values, [key.removeprefix(PREFIX).lower() for key in environ]))
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in problem_lines(problem, _allowed_keys)]
    except ValueError as error:
        lines = [f"{str(error).splitlines()[0]}: a table or key given as a variable must be JSON"]
    except RecursionError:
        lines = ["nested too deeply: a table has keys and values, and [kafka] has the table client"]
    else:
        if not stray:
            return config
        lines = []
    lines += [f"{key}: no such table; allowed are {', '.join(sorted(Config.model_fields))}" for key in stray]
    raise ConfigError("\n".join([f"{name}: {counted(len(lines), 'problem')}", *(f"  {line}" for line in lines)]))


class _Environment(EnvSettingsSource):
    """Reads variables from a given environment, where pydantic-settings would read the process's."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {
            key.lower(): as_json_list(value) if _is_list(key) else value
            for key, value in self._environ.items()
            if key.startswith(PREFIX) and _names_a_table(key) and key != CONFIG_VARIABLE
        }


def _names_a_table(variable: str) -> bool:
    table = variable.removeprefix(PREFIX).split("__")[0].lower()
    return variable == CONFIG_VARIABLE or table in Config.model_fields


def _is_list(variable: str) -> bool:
    table, _, key = variable.removeprefix(PREFIX).lower().partition("__")
    annotation = Config.model_fields[table].annotation
    field = getattr(annotation, "model_fields", {}).get(key)
    return field is not None and get_origin(field.annotation) is tuple


def _allowed_keys(place: tuple[Any, ...]) -> list[str]:
    """The keys that may stand at a place: the tables, or the keys of one of them."""
    if not place:
        return list(Config.model_fields)
    table = Config.model_fields.get(str(place[0]))
    annotation = table.annotation if table else None
    return list(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
