"""Runs one command and writes down what it took: `python -I -S launching.py REPORT COMMAND ...`.

A process begins with the memory of the one that started it, and its peak is never less than that. This one is small,
and imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def written_bytes(pid: int) -> int:
    """What an ended process has written by its own calls, its file mappings apart; 0 where the kernel does not say."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.partition(":")[2]) for line in lines if line.startswith("wchar")), 0)


def main() -> None:
    """Run it to its end."""
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.perf_counter() - began
    written = written_bytes(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    report = {
        "wall_seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss // 1024,
        "written_bytes": written,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    Path(sys.argv[1]).write_text(json.dumps(report), encoding="ascii")


if __name__ == "__main__":
    main()
