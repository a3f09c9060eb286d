"""The verbs for whoever tries the connector out: `demo` and `simulate`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from connector import telemetry
from connector.cli import demo as demonstration
from connector.cli.options import stopped_by_signals


def demo(
    devices: Annotated[int, typer.Option(min=5, max=5_000, help="Devices of the simulated fleet.")] = 40,
    generations: Annotated[int, typer.Option(min=2, max=100, help="Snapshots to poll.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 7,
) -> None:
    """See it work: a simulated fleet, an in-process Kafka; no accounts, no Docker, no Java."""
    telemetry.configure("console", "warning")
    raise typer.Exit(demonstration.run(devices=devices, generations=generations, seed=seed))


def simulate(
    devices: Annotated[int, typer.Option(min=5, max=100_000, help="Devices of the fleet.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0: a free one.")] = 8443,
    interval_seconds: Annotated[int, typer.Option(min=1, help="Time between two generations.")] = 60,
    faults: Annotated[Path | None, typer.Option(help="JSON file of faults to play.")] = None,
) -> None:
    """Serve the simulated export API over HTTPS, for trying the connector against it."""
    stop = threading.Event()
    with stopped_by_signals(stop):
        demonstration.simulate(
            devices=devices, seed=seed, port=port, interval_seconds=interval_seconds, faults_file=faults, stop=stop
        )
