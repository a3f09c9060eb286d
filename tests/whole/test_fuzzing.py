"""The targets of `make fuzz`, fed a little in every run: what the simulator answers, and random changes of it."""

from __future__ import annotations

import os
import random
import traceback

import pytest

from connector import config
from connector.source.http.tokens import claims_of
from connector.source.lines import Page
from connector.source.pages import generation_of
from tests.support import fuzzed

CHANGES = 60
SEED = os.environ.get("MDE_TEST_SEED") or str(random.SystemRandom().randrange(2**32))
"""Other inputs in every run; a failure names the seed, and MDE_TEST_SEED repeats it."""

PIECES = (*(bytes([byte]) for byte in b'\0\xff"[]{}\n\\%'), b"", b"9" * 30, b"\xed\xa0\x80", b"NaN", b"null")


@pytest.fixture(scope="module")
def seeds() -> dict[str, list[bytes]]:
    """Inputs to begin with."""
    return fuzzed.seeds()


def changed(content: bytes, draw: random.Random) -> bytes:
    """The bytes with some places cut out, repeated, or overwritten."""
    for _ in range(draw.randint(1, 4)):
        begin = draw.randrange(len(content) + 1)
        end = min(len(content), begin + draw.choice((0, 1, 1, 2, 20)))
        piece = draw.choice((*PIECES, content[begin:end] * 2, bytes([draw.randrange(256)])))
        content = content[:begin] + piece + content[end:]
    return content


def broken_by(name: str, content: bytes) -> tuple[bytes, str] | None:
    """The bytes, with where and how a target breaks on them; None where it holds."""
    try:
        fuzzed.TARGETS[name](content)
    except Exception:  # noqa: BLE001 - whatever it is, it must not be
        return content, traceback.format_exc()
    return None


@pytest.mark.parametrize("name", fuzzed.TARGETS)
def test_no_input_breaks_a_parser_of_foreign_input(name: str, seeds: dict[str, list[bytes]]) -> None:
    """Whatever the bytes: taken or refused with an error of ours, and what must hold of the result does."""
    draw = random.Random(f"{SEED} {name}")
    contents = [content for seed in seeds[name] for content in (seed, *(changed(seed, draw) for _ in range(CHANGES)))]
    assert [trouble for content in contents if (trouble := broken_by(name, content))] == [], SEED


def test_what_the_simulator_answers_is_taken_and_not_only_refused(seeds: dict[str, list[bytes]]) -> None:
    """Positive control: the seeds reach beyond the first check of each parser."""
    assert Page.read(seeds["page"][0]).records == 3
    assert generation_of(seeds["skiptoken"][0].decode()) == fuzzed.NOW
    assert claims_of(seeds["claims"][1].decode()).roles == ("Software.Read.All",)
    (fuzzed.FOLDER / "example.toml").write_bytes(seeds["configuration"][0])
    variables = {"MDE_INVENTORY_SOURCE__CLIENT_SECRET": fuzzed.CANARY}
    assert config.load(fuzzed.FOLDER / "example.toml", variables).source.auth == "client_secret"
