"""The verb `simulate`: Defender's export API on this machine, whose fleet goes on at a key or with time."""

from __future__ import annotations

import re
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connector.cli import output
from connector.cli.options import stopped_by_signals
from connector.cli.trial.keys import Keys

if TYPE_CHECKING:
    # An extra: it is imported when it is used, and says how to install it where it is missing.
    from connector.simulator import Simulator

PORT: Final = 8443
_DURATION: Final = re.compile(r"(\d{1,6})\s*(s|m|h|)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


def simulate(
    devices: Annotated[int, typer.Option(min=5, max=100_000, help="Number of devices.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0: any free port.")] = PORT,
    advance_every: Annotated[
        str, typer.Option(metavar="TIME", help="Time between two generations: 30s, 5m, 1h.")
    ] = "60s",
    interval_seconds: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
    faults: Annotated[Path | None, typer.Option(help="JSON file of faults to play.")] = None,
) -> None:
    """Serve the simulated export API over HTTPS. A key on its terminal brings the next generation at once."""
    seconds = interval_seconds or _seconds(advance_every)
    stop = threading.Event()
    with stopped_by_signals(stop), Keys(stop) as keys:
        import_simulator().run_simulator(
            devices=devices,
            seed=seed,
            port=port,
            interval_seconds=seconds,
            faults_file=faults,
            announce=lambda simulator: _announce(simulator, seconds, has_keys=keys.are_there),
            stop=stop,
            wait=keys.wait,
            advanced=_report,
        )


def import_simulator() -> Any:  # noqa: ANN401 - a package behind an extra, which says so itself where it is missing
    """The simulator, which the connector itself runs without.

    Raises:
        ConfigError: the extra `simulator` is not installed.
    """
    from connector import simulator

    return simulator


def command_name() -> str:
    """What to type in this shell for `mde-inventory`: its name where that is found, else how it was started."""
    started = Path(sys.argv[0])
    found = shutil.which("mde-inventory")
    if started.name == "mde-inventory":
        is_other = started.exists() and not (found and Path(found).samefile(started))
        return str(started) if is_other else "mde-inventory"
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{python} -m connector"


def _seconds(text: str) -> int:
    given = _DURATION.fullmatch(text.strip().lower())
    seconds = int(given[1]) * _UNITS[given[2]] if given else 0
    if not seconds:
        raise typer.BadParameter("use 30s, 5m or 1h", param_hint="--advance-every")
    return seconds


def _announce(simulator: Simulator, seconds: int, *, has_keys: bool) -> None:
    """How to reach it, with a configuration on stdout, and what it can be asked for."""
    output.print_line("# The simulated export API is running. Connect to it with:", style="dim")
    output.print_toml({"source": simulator.settings()})
    port = simulator.api_url.rpartition(":")[2]
    other = "" if int(port) == PORT else f" --port {port}"
    curl = f"curl --cacert {simulator.ca_bundle} -H 'X-Simulator-Token: {simulator.admin_token}'"
    fault = '[{"endpoint": "blob", "kind": "fewer_records", "share": 0.5, "times": null}]'
    commands = {
        "A configuration for it, in another terminal": f"{command_name()} init --simulator{other}",
        "The next generation, from elsewhere": f"{curl} -X POST {simulator.admin_url}advance",
        "A fault, such as half of the records missing": f"{curl} -d '{fault}' {simulator.admin_url}faults",
        "No more faults": f"{curl} -X DELETE {simulator.admin_url}faults",
    }
    for label, command in commands.items():
        output.print_command(f"# {label}:\n", command)
    by_key = "; any key brings it at once" if has_keys else ""
    output.print_notice(f"A new generation every {seconds} s{by_key}. Ctrl-C stops.")


def _report(simulator: Simulator, is_new: bool) -> None:
    """Say that there is a new generation, or that it is not due yet."""
    if is_new:
        output.print_notice(f"generation {simulator.generation} of {simulator.generated_at:%Y-%m-%d %H:%M} UTC")
    else:
        due = simulator.fleet.generated_at(simulator.generation + 1)
        output.print_notice(f"the fleet has reached the present: the next generation is due at {due:%H:%M} UTC")
