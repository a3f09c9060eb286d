"""What the guard holds, in lines for people: how much, why, where, since when, and what follows from approving it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from rich.text import Text

from connector.operations.held_rows import describe_approval, describe_return
from connector.redaction import escape
from connector.wording import counted

DECISIONS: Final = (
    "`mde-inventory held approve` believes it, `mde-inventory held discard` keeps what is stored; a part of it with"
    " --reason, --inventory, --group, --device."
)
LABEL_WIDTH: Final = 13
PAST_TENSES: Final = {"approve": "approved", "discard": "discarded"}

_Part = Mapping[str, Any]


def describe(parts: Iterable[_Part]) -> Iterable[Text]:
    """A paragraph for each part of what is held."""
    for part in parts:
        yield headline(part)
        if part["largest_devices"]:
            groups = {name or "(no group)": records for name, records in part["largest_groups"].items()}
            names = {name.split(".")[0]: records for name, records in part["largest_devices"].items()}
            yield _line("groups", _named(groups, part["groups"]))
            yield _line("devices", _named(names, part["devices"]))
        if part["reason"] == "REJECTED_LINES":
            yield _line("lines", "in rejected/ beside the state file; if they stay as they are, decide here")
        yield _line("if approved", describe_approval(part))
        # What is in the inventory was away, and may return; what is not was there, and may go again.
        yield _line("if it returns" if part["largest_devices"] else "if undone", describe_return(part))


def describe_decided(decisions: Iterable[Mapping[str, Any]]) -> Iterable[Text]:
    """A paragraph for each decision: when, what, by whom, why, and what it was about."""
    for decision in decisions:
        at = f"{datetime.fromisoformat(decision['decided_at']):%Y-%m-%d %H:%M} UTC"
        yield Text.assemble(
            f"{at} ",
            (PAST_TENSES[decision["action"]], "bold yellow"),
            f" {counted(decision['records'], 'record')}, by {escape(decision['who'] or '(unknown)')}"
            f" on the {decision['road']}",
        )
        if decision["why"]:
            yield _line("why", decision["why"])
        if decision["choice"]:
            yield _line("of it", _options(decision["choice"]))
        for part in decision["parts"]:
            field = f" {part['field']}" if part["field"] else ""
            reach = f"{counted(part['records'], 'record')} on {counted(part['devices'], 'device')}"
            since = f", held since {part['since_snapshot_id']}" if part["since_snapshot_id"] else ""
            published = f"; published as {part['snapshot_id']}" if part["snapshot_id"] else ""
            yield _line(part["inventory"], f"{part['reason']}{field}: {reach}{since}{published}")


def _options(choice: Mapping[str, Any]) -> str:
    """The filters of a decision as they are typed: `--reason SCOPE_LOST --group North`."""
    words = [(name, [value] if isinstance(value, str) else value) for name, value in choice.items()]
    return " ".join(f"--{name} {shlex.quote(word)}" for name, values in words for word in values)


def headline(part: _Part) -> Text:
    """How much is held, why and since when."""
    since = f"{datetime.fromisoformat(part['since']):%Y-%m-%d %H:%M}"
    return Text.assemble(
        (part["reason"], "bold yellow"),
        f" {part['field']}" if part["field"] else "",
        f" {part['inventory']}: ",
        (counted(part["records"], "record"), "bold"),
        f" on {counted(part['devices'], 'device')} ({part['share']:.1%}), since {since} UTC",
    )


def _line(label: str, text: str) -> Text:
    return Text.assemble((f"  {label:<{LABEL_WIDTH}} ", "cyan"), escape(text))


def _named(records: Mapping[str, int], total: int) -> str:
    """The names with the most records, and how many names there are beside them."""
    shown = ", ".join(f"{name} ({number:,})" for name, number in records.items())
    return f"{shown} and {total - len(records):,} more" if total > len(records) else shown
