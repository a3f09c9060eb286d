"""Pages as HTML, JSON and CSV. What devices and software are called is anybody's text, and never markup here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from connector.operations.held_rows import describe_approval, describe_return
from connector.redaction import escape
from connector.web.charts import bars, calendar, stack
from connector.wording import counted, not_a_formula, words

NOTHING: Final = "\N{EN DASH}"
CLIP_CHARACTERS: Final = 96
DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
MINUTE_SECONDS: Final = 60
DATE_CHARACTERS: Final = len("2026-11-23")


class Pages:
    """The templates of the pages."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("connector.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=shown,
        )
        self._environment.filters |= {
            "age": age,
            "approval": describe_approval,
            "clip": clip,
            "counted": counted,
            "number": number,
            "return": describe_return,
            "spaced": spaced,
            "value": value_text,
            "when": when,
            "words": words,
        }
        self._environment.globals |= {"address": address, "bars": bars, "calendar": calendar, "stack": stack}

    def html(self, template: str, values: Mapping[str, Any]) -> str:
        """A page."""
        return self._environment.get_template(f"{template}.html").render(values)


def shown(value: object) -> object:
    """What an expression of a template becomes: text without characters that act; the template escapes markup."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else escape(str(value))


def as_json(value: object) -> str:
    """A mapping as JSON in ASCII, so that no character acts in a terminal; times become ISO 8601."""
    return json.dumps(value, default=_plain, indent=1) + "\n"


def as_csv(names: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A heading, and one row a line. A text that begins like a formula gets a `'` in front of it."""
    text, names = io.StringIO(), tuple(names)
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return text.getvalue()


def address(path: str, **parameters: object) -> str:
    """An address of the console; parameters that are empty are left out."""
    pairs = [
        f"{name}={quote(str(value), safe='', errors='replace')}"
        for name, value in parameters.items()
        if value not in {None, "", False}
    ]
    return f"{path}?{'&'.join(pairs)}" if pairs else path


def clip(text: object, characters_max: int = CLIP_CHARACTERS) -> str:
    """A text as a cell can show it."""
    whole = "" if text is None else str(text)
    return whole if len(whole) <= characters_max else f"{whole[:characters_max]}…"


def when(moment: datetime | str | None) -> str:
    """A time to the minute, in UTC."""
    if moment is None:
        return NOTHING
    if isinstance(moment, str):
        if len(moment) <= DATE_CHARACTERS:
            return moment
        moment = datetime.fromisoformat(moment)
    return f"{moment:%Y-%m-%d %H:%M}"


def number(value: int | None) -> str:
    """A number with its thousands apart."""
    return NOTHING if value is None else f"{value:,}"


def age(seconds: float | None) -> str:
    """A duration in its largest units: `12 d 3 h`, `4 h 10 min`, `35 s`."""
    if seconds is None:
        return NOTHING
    whole = max(0, round(seconds))
    days, rest = divmod(whole, DAY_SECONDS)
    hours, minutes = rest // HOUR_SECONDS, rest % HOUR_SECONDS // MINUTE_SECONDS
    if days:
        return f"{days} d {hours} h" if hours and days < 10 else f"{days} d"  # noqa: PLR2004 - hours matter in the first days
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{whole} s"


def value_text(value: object) -> str:
    """A value of a field: the texts of a list one after the other."""
    if value is None or value == []:
        return NOTHING
    return "; ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def spaced(name: str) -> str:
    """The name of a field in words: `number of weaknesses`."""
    return "".join(f" {character.lower()}" if character.isupper() else character for character in name)


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _cell(value: object) -> object:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    if isinstance(value, datetime):
        text = value.isoformat().replace("+00:00", "Z")
    return not_a_formula(text)
