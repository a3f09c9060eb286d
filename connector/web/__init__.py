"""The console: pages about one state file, rendered on the server, on loopback. Needs the extra `console`.

access     who may ask: token, cookie, hosts, sites; the headers of every response
encryption TLS, and a certificate that is renewed
visits     short reads of the state file, and what is known where a poll has it
views      what a page says, as mappings; its JSON twin is the same
rendering  pages as HTML, JSON and CSV
console    the pages, by address                         server  HTTP until it is stopped
"""

from __future__ import annotations

from connector.errors import ConfigError

try:
    import aiohttp as _aiohttp
    import jinja2 as _jinja2
except ModuleNotFoundError as error:
    raise ConfigError(
        f"the console needs the package {error.name}, which is not installed",
        hint="Install it with `pip install 'mde-inventory-connector[console]'`.",
    ) from error

from connector.web.server import Console

__all__ = ["Console"]
del _aiohttp, _jinja2
