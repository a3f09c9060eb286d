"""The container image: hadolint has nothing to say, and it is built and started, with tools of the distribution only.

There is no container engine. buildah builds with the Containerfile as it is, on a base made by debootstrap; what an
engine would do to start it (a read-only root, memory for /tmp, the volume, the user, no rights) is done with
util-linux. It takes root, and minutes.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.test_deploy import EXAMPLE, last_stage

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = "localhost/python:base"
IMAGE = "localhost/mde-inventory-connector:test"
WAIT_SECONDS_MAX = 240
ADDED_MIB_MAX = 250
"""What the image may add to its base; DuckDB, librdkafka and cryptography are most of it."""

Tool = Callable[[str], Path]


def test_hadolint_has_nothing_to_say(tool: Tool) -> None:
    """The Containerfile keeps the rules of its linter."""
    ran = subprocess.run(
        [tool("hadolint"), DEPLOY / "Containerfile"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, "")


class Image:
    """The built image: what it says of itself, and its file system."""

    def __init__(self, buildah: list[str], root: Path, base_bytes: int) -> None:
        inspected = json.loads(subprocess.check_output([*buildah, "inspect", "--type", "image", IMAGE], text=True))
        self.config: dict[str, Any] = inspected["Docker"]["config"]
        self.root = root
        self.base_bytes = base_bytes

    @property
    def environment(self) -> list[str]:
        """As `NAME=value`."""
        return list(self.config["Env"])

    @contextmanager
    def started(self, command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
        """A process of the image, as an engine would start it with `--read-only --cap-drop ALL`."""
        user, _, group = self.config["User"].partition(":")
        volume = next(iter(self.config["Volumes"]))
        state = folder / "state"
        if not state.exists():
            state.mkdir()
            os.chown(state, int(user), int(group))
        mount_points = [self.root / "etc" / "mde-inventory", self.root / volume.lstrip("/")]
        for point in mount_points:
            point.mkdir(parents=True, exist_ok=True)
        (self.root / "etc" / "hosts").touch()
        root = shlex.quote(str(self.root))
        dropped = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
        environment = ["env", "-i", "-C", self.config["WorkingDir"], *self.environment]
        inside = ["setpriv", f"--reuid={user}", f"--regid={group}", *dropped, *environment]
        chrooted = shlex.join(["chroot", str(self.root), *inside, *command])
        steps = [
            "mount --make-rprivate /",
            f"mount --bind {root} {root}",
            f"mount -o remount,bind,ro {root}",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs tmpfs {root}/tmp",
            f"mount --bind /etc/hosts {root}/etc/hosts",
            f"mount --bind {shlex.quote(str(state))} {root}{volume}",
            f"mount --bind {shlex.quote(str(folder / 'etc'))} {root}/etc/mde-inventory",
            f"exec {chrooted}",
        ]
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", "; ".join(steps)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)

    def run(self, command: list[str], folder: Path) -> tuple[int, str]:
        """The exit code and output of a command in the image."""
        with self.started(command, folder) as process:
            output, _ = process.communicate(timeout=WAIT_SECONDS_MAX)
        return process.returncode, output


def size_of(folder: Path) -> int:
    """Bytes of the files of a folder, hard links once."""
    return int(subprocess.check_output(["du", "--summarize", "--block-size=1", str(folder)], text=True).split()[0])


@pytest.fixture(scope="module")
def places() -> Iterator[Path]:
    """A folder on a disk: an image's layers are too large for memory."""
    folder = Path("/var/tmp") / f"mde-image-{os.getpid()}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def image(places: Path, request: pytest.FixtureRequest) -> Iterator[Image]:
    """The image, built once for the module."""
    find: Tool = request.getfixturevalue("module_tool")
    rootfs = find("debian").parents[2]
    stored = [f"--root={places / 'store'}", f"--runroot={places / 'run'}", "--storage-driver=vfs"]
    buildah = [str(find("buildah")), *stored]

    def built(*words: str) -> str:
        ran = subprocess.run([*buildah, *words], capture_output=True, text=True, check=False, timeout=1500)
        assert ran.returncode == 0, (words[0], ran.stdout[-800:], ran.stderr[-800:])
        return ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else ""

    base = built("from", "scratch")
    built("copy", "--quiet", base, str(rootfs), "/")
    built("commit", "--quiet", "--disable-compression", "--rm", base, BASE)
    certificates = [f"--volume={path}:{path}:ro" for path in ("/etc/ssl/certs",) if Path(path).exists()]
    links = [path for path in os.environ.get("PIP_FIND_LINKS", "").split() if Path(path).is_dir()]
    built(
        "bud", "--isolation", "chroot", "--format", "docker", "--disable-compression", "--build-arg",
        f"PYTHON_IMAGE={BASE}", *certificates, *(f"--volume={path}:{path}:ro" for path in links),
        "--ignorefile", str(DEPLOY / "Containerfile.dockerignore"), "--file", str(DEPLOY / "Containerfile"),
        "--tag", IMAGE, str(ROOT),
    )  # fmt: skip
    container = built("from", IMAGE)
    yield Image(buildah, Path(built("mount", container)), size_of(rootfs))
    built("umount", container)


@pytest.fixture
def folder(places: Path) -> Iterator[Path]:
    """What is mounted: a configuration whose Kafka and whose Defender are away."""
    path = places / "mounted"
    (path / "etc").mkdir(parents=True)
    text = EXAMPLE.replace('# client_secret = "..."', 'client_secret = "none"')
    text = text.replace("localhost:9092", "127.0.0.1:1").replace("# api_url = ", "api_url = ")
    text = text.replace("https://api.security.microsoft.com", "https://127.0.0.1:1")
    text = text.replace("# authority = ", "authority = ").replace(
        "https://login.microsoftonline.com", "https://127.0.0.1:1"
    )
    (path / "etc" / "connector.toml").write_text(text, encoding="utf-8")
    # Whatever the umask of a test before this one: the connector narrows that of its process.
    (path / "etc").chmod(0o755)
    (path / "etc" / "connector.toml").chmod(0o644)
    yield path
    shutil.rmtree(path)


@pytest.mark.timeout(1800)
def test_the_image_is_as_small_as_it_can_be(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    """What it adds to its base, and the largest parts of it; no pip, no compiler, no sources beside the package."""
    site = next((image.root / "opt" / "mde-inventory" / "lib").glob("python3*")) / "site-packages"
    parts = {path.name: size_of(path) >> 20 for path in site.iterdir()}
    largest = dict(sorted(parts.items(), key=lambda part: -part[1])[:8])
    added = (size_of(image.root) - image.base_bytes) >> 20
    with capsys.disabled():
        print(f"\nimage: {added} MiB beside {image.base_bytes >> 20} MiB of its base; MiB of the largest: {largest}")
    assert added < ADDED_MIB_MAX
    assert not {"pip", "setuptools", "mypy", "pytest", "hatchling", "tests"} & set(parts)
    assert not (image.root / "source").exists()


@pytest.mark.timeout(1800)
def test_it_starts_as_its_user_on_a_read_only_root(image: Image, folder: Path) -> None:
    """It can write to the volume and to /tmp, and nowhere else; it has no rights."""
    volume = last_stage()["VOLUME"]
    probe = (
        "import os\n"
        "def may(folder):\n"
        "    try:\n        open(folder + '/probe', 'w').close()\n        return True\n"
        "    except OSError:\n        return False\n"
        "said = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "rights = [said[name].strip() for name in ('CapEff', 'NoNewPrivs')]\n"
        f"print(os.getuid(), os.getgid(), may('{volume}'), may('/tmp'), may('/opt/mde-inventory'), may('/etc'), rights)"
    )
    code, output = image.run(["python", "-c", probe], folder)
    assert (code, output.split(" ", 6)[:6], output.split("[")[1].strip()) == (
        0,
        ["65532", "65532", "True", "True", "False", "False"],
        "'0000000000000000', '1']",
    )


@pytest.mark.timeout(1800)
def test_its_own_command_runs_the_demo(image: Image, folder: Path) -> None:
    """Entry point and package work in it: simulator, in-process Kafka and diff, from the first poll to the last."""
    code, output = image.run([*image.config["Entrypoint"], "demo", "--devices", "5", "--generations", "2"], folder)
    assert (code, "EQUAL" in output.upper()) == (0, True), output[-800:]


@pytest.mark.timeout(1800)
def test_it_runs_is_healthy_and_stops(image: Image, folder: Path) -> None:
    """With Defender and Kafka away it is alive and not ready; its health check passes; SIGTERM ends it with 0."""
    environ = dict(pair.split("=", 1) for pair in image.environment)
    port = int(environ["MDE_INVENTORY_HTTP__LISTEN"].rpartition(":")[2])
    check = image.config["Healthcheck"]["Test"]
    with image.started([*image.config["Entrypoint"], *image.config["Cmd"]], folder) as process:
        statuses = answers(process, port)
        assert check[0] == "CMD"
        code, output = image.run(check[1:], folder)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(child), signal.SIGTERM)
        log, _ = process.communicate(timeout=60)
    assert (statuses, code, output, process.returncode) == ({"/healthz": 200, "/readyz": 503}, 0, "", 0), log[-800:]


def answers(process: subprocess.Popen[str], port: int) -> dict[str, int]:
    """The status of both probes, once a poll has failed."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            return {path: status_of(port, path) for path in ("/healthz", "/readyz")}
        time.sleep(0.5)
    assert process.stdout
    pytest.fail(f"it does not answer: {process.stdout.read() if process.poll() is not None else 'too late'}")


def status_of(port: int, path: str) -> int:
    """The status that a probe gets."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
