"""A decision about one hold, as a form posts it: checked, compared with what is held now, and made as by `held`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from connector.assembly import Assembly
from connector.errors import ConfigError, HoldChanged, StateLocked
from connector.model import Hold
from connector.operations import decisions
from connector.staging.holds import EVERYTHING
from connector.state.decisions import TEXT_CHARACTERS_MAX, Action, Road, Signature
from connector.telemetry import logger
from connector.web.visits import Facts
from connector.wording import counted

log = logger(__name__)

FIELDS_MAX: Final = 16
THOUSANDS: Final = " ,.'\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
"""What people put between thousands."""

TITLES: Final = {Action.APPROVE: "Approved", Action.DISCARD: "Discarded"}


def read_values(text: str) -> dict[str, str]:
    """The fields of a form as browsers post it; nothing where it is none."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError:
        return {}


@dataclass(frozen=True, slots=True)
class Form:
    """What was posted, checked: the hold as the person saw it, and what they want.

    Attributes:
        since: id of the snapshot that it is held since.
        records, devices: how many the page showed; the number of records was typed in again.
    """

    action: Action
    inventory: str
    reason: str
    field: str | None
    since: str
    records: int
    devices: int
    why: str

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Form:
        """A form from its fields.

        Raises:
            ConfigError: something is missing, or the number that was typed is another.
        """
        try:
            form = cls(
                action=Action(values["action"]),
                inventory=values["inventory"],
                reason=values["reason"],
                field=values.get("field") or None,
                since=values["since"],
                records=int(values["records"]),
                devices=int(values["devices"]),
                why=" ".join(values["why"].split()),
            )
        except (KeyError, ValueError) as error:
            raise ConfigError("this is no form of this page; nothing was decided", hint="Load it again.") from error
        if not form.why or len(form.why) > TEXT_CHARACTERS_MAX:
            raise ConfigError(
                "a decision needs a reason; nothing was decided",
                hint=f"Say why, in up to {TEXT_CHARACTERS_MAX:,} characters: it is kept with the decision.",
            )
        typed = "".join(character for character in values.get("typed", "") if character not in THOUSANDS)
        if typed != str(form.records):
            raise ConfigError(
                f"the number that was typed is not {form.records:,}; nothing was decided",
                hint="Go back and type the number of held records: no slip of the mouse decides.",
            )
        return form

    def is_about(self, hold: Hold) -> bool:
        """Whether this is the hold that the person saw, whatever its numbers are now."""
        seen = (self.inventory, self.reason, self.field, self.since)
        return seen == (hold.inventory.value, hold.reason, hold.field, hold.since_snapshot_id)


def decide(assembly: Assembly, form: Form, who: str, *, wait_seconds: float) -> Facts:
    """Make a decision. Returns what came of it.

    Args:
        assembly: made for this decision, and closed after it.
        form: what was posted.
        who: posted it.
        wait_seconds: how long to wait for a poll to close the state file.

    Raises:
        HoldChanged: it was decided already, or a poll changed it; nothing was decided.
        StateLocked: a poll has the state file; nothing was decided.
    """
    signature = Signature(who, form.why, Road.CONSOLE)
    try:
        with assembly.read_state(wait_seconds) as state:
            standing = state.journal.holds()
        hold = next((hold for hold in standing if form.is_about(hold)), None)
        if hold is None or (hold.records, hold.devices) != (form.records, form.devices):
            raise HoldChanged("what is held changed since the page was loaded; nothing was decided", hint=_now(hold))
        make = decisions.approve_held if form.action is Action.APPROVE else decisions.discard_held
        decision = make(
            assembly, EVERYTHING.of(hold), expected=standing, signature=signature, wait_seconds=wait_seconds
        )
    except StateLocked as error:
        raise StateLocked(
            f"{error}; nothing was decided", hint="Go back and try again once its poll has ended."
        ) from None
    log.info("decided on the console", action=form.action, who=who, records=form.records, reason=form.reason)
    return {
        "title": TITLES[form.action],
        "reason": form.reason,
        "inventory": form.inventory,
        "records": form.records,
        "text": decisions.describe(form.action, decision),
        "outage": str(decision.outage or ""),
        "who": who,
        "why": form.why,
    }


def _now(hold: Hold | None) -> str:
    """What has become of a hold."""
    if hold is None:
        return "It is not held any more. Load the page again, and look at what is held now."
    reach = f"{counted(hold.records, 'record')} on {counted(hold.devices, 'device')}"
    return f"Now {reach} are held. Load the page again, and look at them."
