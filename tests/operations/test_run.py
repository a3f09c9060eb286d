"""What `run` makes sure of before it polls. The command itself is in whole/test_decisions.py."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from connector import config
from connector.assembly import Assembly
from connector.errors import StateError, StateLocked
from connector.operations.run import CurrentParts, take_locks
from connector.state.publisher_lock import RUN
from tests.support.configured import config_of


def tenant(path: Path) -> Assembly:
    """A tenant with its state file there."""
    return Assembly(config_of(state={"path": str(path)}))


def test_a_state_file_that_another_process_publishes_from_refuses_the_start(tmp_path: Path) -> None:
    """Of several tenants the one is named; the locks of the others are free again for whoever asks next."""
    first, second = tenant(tmp_path / "first.duckdb"), tenant(tmp_path / "second.duckdb")
    with second.publisher_lock(RUN):
        with pytest.raises(StateLocked, match=r"second\.duckdb"), ExitStack() as stack:
            take_locks([first, second], stack)
        with first.publisher_lock("poll").attempted() as other:
            assert other is None


def test_a_lock_that_cannot_be_taken_concerns_its_tenant_only(tmp_path: Path) -> None:
    """The others have theirs; each poll of that tenant tries again, and fails by name until it can."""
    first, second = tenant(tmp_path / "first.duckdb"), tenant(tmp_path / "folder" / "second.duckdb")
    (tmp_path / "folder").write_text("a file where the folder should be")
    with ExitStack() as stack:
        locks = take_locks([first, second], stack)
        locks[0].renew()
        with pytest.raises(StateError, match="cannot be locked"):
            locks[1].renew()
        (tmp_path / "folder").unlink()
        locks[1].renew()
        for lock in locks:
            assert lock.path.read_text(encoding="ascii").endswith(" run\n")


def test_a_secret_that_is_renewed_makes_the_parts_again(tmp_path: Path) -> None:
    """By its file, and for all who use it; it is hidden from the logs first, and other keys stay as they were."""
    secret, word, file = tmp_path / "secret", tmp_path / "word", tmp_path / "connector.toml"
    secret.write_text("first-secret", encoding="utf-8")
    word.write_text("first-word", encoding="utf-8")
    text = (
        f'[source]\ntenant_id = "t1"\nclient_id = "c"\nclient_secret_file = "{secret}"\n[poll]\ninterval_seconds = 60\n'
        f'[kafka.client]\n"bootstrap.servers" = "localhost:1"\n"sasl.password_file" = "{word}"\n'
        f'[schema_registry]\nurl = "mock://x"\n"basic.auth.user.info_file" = "{word}"\n'
    )
    file.write_text(text, encoding="utf-8")
    hidden: list[str] = []
    first = Assembly(config.load(file, {}))
    current = CurrentParts(file, first, Assembly, hidden.extend)
    assert (current() is first, hidden) == (True, [])
    secret.write_text("second-secret\n", encoding="utf-8")
    word.write_text("second-word", encoding="utf-8")
    file.write_text(text.replace("= 60", "= 7200"), encoding="utf-8")
    second = current()
    assert second.config.secrets == ("second-secret", "second-word", "second-word")
    assert (second is current(), second.config.poll.interval_seconds, hidden) == (True, 60, [*second.config.secrets])
    secret.unlink()
    assert current() is second
    current.close()


def test_a_client_certificate_that_is_renewed_makes_the_parts_again(tmp_path: Path) -> None:
    """It is a file too, whose path stays the same."""
    certificate, file = tmp_path / "certificate.pem", tmp_path / "connector.toml"
    certificate.write_text("one", encoding="utf-8")
    file.write_text(
        f'[source]\ntenant_id = "t1"\nclient_id = "c"\nauth = "certificate"\ncertificate_path = "{certificate}"\n'
        '[kafka.client]\n"bootstrap.servers" = "localhost:1"\n[schema_registry]\nurl = "mock://x"\n',
        encoding="utf-8",
    )
    first = Assembly(config.load(file, {}))
    current = CurrentParts(file, first, Assembly, lambda _secrets: None)
    assert current() is first
    certificate.write_text("two", encoding="utf-8")
    assert (current() is first, current() is current()) == (False, True)
    current.close()
