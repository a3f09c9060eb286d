"""What is wrong with a configuration, in words: one line a problem, with key, value and what is allowed.

Owns the wording, and that no secret is in it. Must not check anything.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from connector.config.values import is_secret

_NAMES_A_KEY: Final = re.compile(r"[a-z_.]+( \(or [a-z_]+\))?: ")
"""A problem of several values together begins with the key it is about."""


def lines_of(problem: Mapping[str, Any], keys_at: Callable[[tuple[Any, ...]], list[str]]) -> list[str]:
    """A problem as `key: what is wrong`, with the value unless the key is a secret; one table may have several.

    Args:
        problem: as the validation library tells it: `loc`, `type`, `msg`, `input`.
        keys_at: the keys allowed at a place, to suggest one.
    """
    place = ".".join(str(part) for part in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), keys_at(problem["loc"][:-1]), n=1)
        return [f"{place}: no such key" + (f"; did you mean {near[0]}?" if near else "")]
    if problem["type"] == "missing":
        return [f"{place}: is missing"]
    if problem["type"] == "value_error":
        return [f"{place}.{line}" if _NAMES_A_KEY.match(line) else f"{place}: {line}" for line in text.splitlines()]
    # What stands in a table's place may be any of its values, a secret one included.
    is_table = problem["type"] in ("dict_type", "model_type", "model_attributes_type")
    is_hidden = is_secret(place) or is_table or isinstance(problem["input"], dict | list)
    shown = "" if is_hidden else f" (is {problem['input']!r})"
    return [f"{place}: {text[:1].lower()}{text[1:]}{shown}"]
