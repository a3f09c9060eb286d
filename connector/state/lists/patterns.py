"""Patterns with the wildcards `*` and `?` as SQL conditions that ignore case. Values are bound, never written out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connector.errors import ConfigError

_WILD: Final = {"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"}


class Bound:
    """The named parameters of a statement."""

    def __init__(self) -> None:
        self.parameters: dict[str, object] = {}

    def __call__(self, value: object) -> str:
        """Bind a value. Returns its placeholder."""
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"


def stripped(text: str, option: str, hint: str) -> str:
    """A pattern without blanks around it.

    Raises:
        ConfigError: nothing is left of it.
    """
    if not text.strip():
        raise ConfigError(f"{option}: is empty", hint=hint)
    return text.strip()


def any_of(conditions: Iterable[str]) -> str:
    """A condition: one of these holds; "" where there are none."""
    alternatives = " OR ".join(conditions)
    return f"({alternatives})" if alternatives else ""


def all_of(conditions: Iterable[str]) -> str:
    """A condition: all of these hold that are not ""; true where there are none."""
    return " AND ".join(filter(None, conditions)) or "true"


def is_device(pattern: str, bind: Bound) -> str:
    """A condition on `device_id` and `device_name`: the id, the name, or the first part of the name matches.

    Lowering the names is most of the cost of such a search; ids without a wildcard are compared as they are.
    """
    if _is_wild(pattern):
        by_id = matches("device_id", pattern, bind)
        by_name = matches("device_name", pattern, bind)
        return f"{by_id} OR {by_name} OR {matches('device_name', pattern + '.*', bind)}"
    lowered = pattern.lower()
    begins = f"lower(device_name) LIKE {bind(_like(lowered) + '%')} ESCAPE '\\'"
    whole = f"lower(device_name) = {bind(lowered)} OR starts_with(lower(device_name), {bind(lowered + '.')})"
    ids = ", ".join(bind(text) for text in sorted({pattern, lowered, pattern.upper()}))
    return f"device_id IN ({ids}) OR ({begins} AND ({whole}))"


def is_group(pattern: str, bind: Bound) -> str:
    """A condition on `rbac_group_id` and `rbac_group_name`: the number or the name of a device group matches."""
    by_name = matches("rbac_group_name", pattern, bind)
    return f"{by_name} OR rbac_group_id::VARCHAR = {bind(pattern)}"


def matches(column: str, pattern: str, bind: Bound) -> str:
    """A condition: the text in a column matches a pattern."""
    if not _is_wild(pattern):
        return f"lower({column}) = {bind(pattern.lower())}"
    return f"lower({column}) LIKE {bind(_like(pattern.lower()))} ESCAPE '\\'"


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _like(pattern: str) -> str:
    return "".join(_WILD.get(character, character) for character in pattern)
