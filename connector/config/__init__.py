"""The configuration: its tables with their defaults, the checks of every value, and the files of several tenants."""

from connector.config.loading import CONFIG_VARIABLE, find, from_values, load
from connector.config.tables import Config, ConsoleConfig

__all__ = ["CONFIG_VARIABLE", "Config", "ConsoleConfig", "find", "from_values", "load"]
