"""The configuration: tables, values, files of several tenants. Knows no room but `exports` and `errors`."""

from connector.config.tables import CONFIG_VARIABLE, Config, find, from_values, load

__all__ = ["CONFIG_VARIABLE", "Config", "find", "from_values", "load"]
