"""The state file when a process is killed, the power fails or the disk is full: before every write that there is."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from connector.errors import StateCorrupt, StateError, StateFull
from connector.state.schema import MIGRATIONS
from connector.state.state import StateFile
from tests.state.test_state import attempt
from tests.support import power
from tests.support.bench import SLOW, Bench, record
from tests.support.disk import Call, Disk, Files, Unavailable, killed, power_lost, read, unique, write
from tests.support.released import picture, unpacked

NEXT_STEP = (
    "ALTER TABLE inventory ADD COLUMN extra VARCHAR",
    "UPDATE inventory SET extra = software_no::VARCHAR",
    "CREATE TABLE more AS SELECT * FROM changes",
)
STEPS = (*MIGRATIONS, NEXT_STEP)
IMAGES_MAX = 2 * SLOW.max_examples
"""Of what a power failure may leave; MDE_TEST_EXAMPLES raises it."""


class Scene:
    """A state file, what is done to it, and what it holds before and after.

    Attributes:
        files: the folder before.
        picture: of the file in a folder.
    """

    def __init__(self, folder: Path, files: Files, job: Callable[..., Any], *arguments: Any) -> None:
        self.folder = folder
        self.files = files
        self.job = job
        self.arguments = arguments
        self.picture: Callable[[Path], Any] = opened
        self.before = self.look(files, again=False)

    def begin(self) -> Path:
        """The folder as it was before."""
        for path in self.folder.iterdir():
            path.unlink()
        write(self.folder, self.files)
        return self.folder / "state.duckdb"

    def look(self, files: Files, *, again: bool) -> Any:
        """What the file says when it is opened next; or once the job was then done `again`, where it had to be."""
        folder = self.folder.parent / "image"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        write(folder, files)
        path = folder / "state.duckdb"
        content = self.picture(path)
        if not again or content != self.before or self.job is power.make:
            return content
        self.job(path, *self.arguments)
        return self.picture(path)


def failing(kind: str, number: int, place: int) -> Callable[[Call, int], int]:
    """Answers calls of a kind with an error, from the one of that place on."""
    left = itertools.count(-place)
    return lambda call, _: number if call.kind == kind and next(left) >= 0 else 0


def opened(path: Path) -> dict[str, Any]:
    """What is in a state file."""
    with StateFile.open(path, memory_limit_mib=256, threads=1) as state:
        return picture(state)


def upgraded(path: Path) -> Any:
    """What is in a file of the next version, which its connector finds."""
    power.upgrade(path, STEPS)
    return power.contents(path)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """The folder `watched`, whose writes are reported."""
    folder = tmp_path_factory.mktemp("disk") / "watched"
    folder.mkdir()
    try:
        with Disk(folder) as disk:
            yield disk
    except Unavailable as error:
        pytest.skip(f"NOT PROVEN here: {error}")


@pytest.fixture
def scene(request: pytest.FixtureRequest, disk: Disk, tmp_path: Path) -> Scene:
    """By name: a snapshot is staged, a batch confirmed, a file brought to the next version, a new file made."""
    if request.param == "make":
        return Scene(disk.folder, {}, power.make)
    if request.param == "upgrade":
        path = unpacked(1, tmp_path)
        with StateFile.open(path, memory_limit_mib=256, threads=1):
            pass
        scene = Scene(disk.folder, {"state.duckdb": path.read_bytes()}, power.upgrade, STEPS)
        scene.picture = upgraded
        scene.before = None
        return scene
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot([record("d", f"{number}") for number in range(60)]))
        snapshot = bench.snapshot([record("d", f"{number}", osPlatform="Linux") for number in range(20, 90)])
        if request.param == "stage":
            bench.state.close()
            return Scene(disk.folder, read(bench.path.parent), power.stage, snapshot)
        staged = bench.take(snapshot)
    return Scene(
        disk.folder, read(bench.path.parent), power.confirm, bench.checkpoint(staged, sequence=40, sealed=False)
    )


SCENES = pytest.mark.parametrize("scene", ["make", "stage", "confirm", "upgrade"], indirect=True)


@SCENES
def test_wherever_a_process_is_killed_or_the_power_fails_all_is_there_or_nothing(scene: Scene, disk: Disk) -> None:
    """Before every system call that writes; of what was not synced nothing, all, or any part, a write torn in two.

    The file opens at once, adds up, and is as before or as after; done again, it is the same to the last byte.
    """
    path = scene.begin()
    error, _ = disk.run(scene.job, path, *scene.arguments)
    assert error is None
    assert len(disk.calls) > 5
    left = unique(killed(scene.files, disk.calls))
    assert left[-1] == read(scene.folder)
    after = scene.picture(path)
    assert [contents for files in left[::3] if (contents := scene.look(files, again=True)) != after] == []
    torn = unique(power_lost(scene.files, disk.calls, Random(1)))
    images = [*left[1::3], *left[2::3], *Random(2).sample(torn, min(len(torn), IMAGES_MAX))]
    contents = [scene.look(files, again=False) for files in images]
    assert [content for content in contents if content not in (scene.before, after)] == []
    assert len(contents) >= 8


@pytest.mark.parametrize("scene", ["make", "stage", "upgrade"], indirect=True)
@pytest.mark.parametrize(("kind", "number"), [("write", errno.ENOSPC), ("sync", errno.EIO)])
def test_a_disk_that_is_full_or_fails_at_any_write_leaves_the_state_before_or_after(
    kind: str, number: int, scene: Scene, disk: Disk
) -> None:
    """From each write on there is no space left, at each sync the disk fails: an error of ours, and the file opens.

    With space again, or another try, it comes to what it would have come to.
    """
    path = scene.begin()
    assert disk.run(scene.job, path, *scene.arguments)[0] is None
    after, errors = scene.picture(path), []
    for place in itertools.count():
        path = scene.begin()
        error, _ = disk.run(scene.job, path, *scene.arguments, answer=failing(kind, number, place))
        if error is None:
            break
        errors.append(error)
        assert scene.look(read(scene.folder), again=place % 3 == 0) in (after, scene.before if place % 3 else after)
    assert len(errors) >= 2
    expected = StateFull if kind == "write" else StateError
    assert [error for error in errors if not isinstance(error, expected) or not error.hint] == []


@pytest.mark.parametrize("scene", ["stage"], indirect=True)
def test_a_log_that_was_damaged_after_a_kill_is_refused_by_name_or_ends_before_the_damage(
    scene: Scene, disk: Disk
) -> None:
    """Cut anywhere it is as before; with a bit flipped anywhere it is refused, or as before or after."""
    path = scene.begin()
    disk.run(scene.job, path, *scene.arguments)
    after = scene.picture(path)
    name, random = "state.duckdb.wal", Random(2)
    files = max(killed(scene.files, disk.calls), key=lambda image: len(image.get(name, b"")))
    log = files[name]
    for _ in range(SLOW.max_examples):
        cut = log[: random.randrange(len(log))]
        assert scene.look(files | {name: cut}, again=False) == scene.before
    assert scene.look(files | {name: cut}, again=True) == after
    refused = 0
    for _ in range(3 * SLOW.max_examples):
        place, bit = random.randrange(len(log)), 1 << random.randrange(8)
        flipped = log[:place] + bytes([log[place] ^ bit]) + log[place + 1 :]
        error, content = attempt(partial(scene.look, files | {name: flipped}, again=False))
        assert content in (None, scene.before, after)
        assert error is None or (isinstance(error, StateCorrupt) and name in str(error) and error.hint)
        refused += error is not None
    assert refused > SLOW.max_examples
