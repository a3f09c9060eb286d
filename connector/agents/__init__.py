"""What an agent may read, over the Model Context Protocol: the pages of the console as tools. Needs the extra `mcp`.

untrusted  what devices and software are called: escaped, cut, and marked as nobody's instructions
tools      a tool for each page, from what the page declares; checks arguments, and answers with the page's facts
server     MCP on stdin and stdout, until the client leaves
"""

from __future__ import annotations

from connector.errors import ConfigError

try:
    import mcp as _mcp
except ModuleNotFoundError as error:
    raise ConfigError(
        f"the MCP server needs the package {error.name}, which is not installed",
        hint="Install it with `pip install 'mde-inventory-connector[mcp]'`.",
    ) from error

del _mcp
