from __future__ import annotations

from connector.model import MISSING, Check
from connector.operations.causes import by_cause, check_as_json

SETUP = "Run `mde-inventory setup`, or have an administrator create them."


def failed(name: str, noun: str, cause: str, *, exit_code: int = 1) -> Check:
    """A check of one of several things."""
    return Check(name, fine=False, text=f"{name} failed", hint="Do it.", exit_code=exit_code, noun=noun, cause=cause)


def test_what_is_missing_is_one_line_with_one_command() -> None:
    """Topics and schemas together, counted; everything else in its place before it."""
    fine, other = Check("kafka", fine=True, text="1 broker"), Check("token", fine=False, text="refused")
    topics = [failed(f"t{number}", "topic", MISSING) for number in range(4)]
    schemas = [failed(f"s{number}", "schema", MISSING, exit_code=2) for number in range(3)]
    assert list(by_cause([fine, *topics, other, *schemas])) == [
        fine,
        other,
        Check("setup", fine=False, text="4 topics and 3 schemas are missing", hint=SETUP, exit_code=2),
    ]


def test_the_same_refusal_of_several_is_one_line() -> None:
    """With the text of the first and the highest exit code; another cause has another line, and one alone is itself."""
    denied = [failed("a", "topic", "denied"), failed("b", "topic", "denied", exit_code=5)]
    alone = failed("c", "topic", "compacted")
    assert list(by_cause([*denied, alone])) == [
        Check(
            "topics", fine=False, text="2 topics: a failed", hint="Do it.", exit_code=5, noun="topic", cause="denied"
        ),
        alone,
    ]


def test_nothing_is_grouped_that_is_fine_or_has_no_cause() -> None:
    """They come as they are."""
    checks = [Check("a", fine=True, text="x", cause=MISSING), Check("b", fine=False, text="y"), failed("c", "t", "")]
    assert list(by_cause(checks)) == checks


def test_every_finding_is_an_object() -> None:
    """The exit code is that of the finding: 0 where it is fine."""
    assert check_as_json(failed("a", "topic", MISSING, exit_code=2)) == {
        "name": "a", "fine": False, "text": "a failed", "hint": "Do it.", "cause": MISSING, "exit_code": 2,
    }  # fmt: skip
    assert check_as_json(Check("b", fine=True, text="x", exit_code=2))["exit_code"] == 0
