"""Fuzzes the parsers of foreign input: `python -m tests.support.fuzzing [--seconds N] [--target T]`, or `make fuzz`.

Needs atheris, which has wheels for some platforms only: `requirements-fuzz.lock`. What the targets are and what must
hold is in `tests.support.fuzzed`. Each target runs in its own process for a given time and begins with what the
simulator answers; inputs that reach further, and those that fail, are kept in `build/fuzzing/`. A failing input becomes
an ordinary test, beside the fix.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = Path("build") / "fuzzing"
INPUT_BYTES_MAX = 4096
INPUT_SECONDS_MAX = 20


def fuzz(name: str, arguments: list[str]) -> None:
    """Feed one target without end, or as libFuzzer's arguments say; ends the process."""
    import atheris  # noqa: PLC0415 - only here: other platforms run everything else without it

    with atheris.instrument_imports(include=["connector"]):
        fuzzed = importlib.import_module("tests.support.fuzzed")
    atheris.Setup([f"fuzzing {name}", *arguments], fuzzed.TARGETS[name])
    atheris.Fuzz()


def run(name: str, seconds: int, seeds: list[bytes]) -> bool:
    """Fuzz one target in a separate process, and print its figures. Returns whether nothing was found."""
    corpus, failures = KEPT / name / "corpus", KEPT / name / "found"
    for folder in (corpus, failures):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_SECONDS_MAX}"]
    arguments += ["-print_final_stats=1", f"-artifact_prefix={failures}/", str(corpus)]
    command = [sys.executable, "-m", "tests.support.fuzzing", "--feed", name, *arguments]
    with tempfile.TemporaryDirectory() as scratch:
        environ = os.environ | {"TMPDIR": scratch}
        ended = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        )
    executions = re.findall(r"number_of_executed_units:\s*(\d+)", ended.stdout) or ["?"]
    coverage = re.findall(r"cov: (\d+)", ended.stdout) or ["?"]
    verdict = "nothing found" if ended.returncode == 0 else f"FOUND, see {failures}/"
    print(f"{name:14} {executions[-1]:>12} executions  coverage {coverage[-1]:>5}  {verdict}", flush=True)
    if ended.returncode:
        print(ended.stdout[-4000:], flush=True)
    return ended.returncode == 0


def main() -> int:
    """Run one target or all of them, one after the other."""
    if sys.argv[1:2] == ["--feed"]:
        fuzz(sys.argv[2], sys.argv[3:])
    fuzzed = importlib.import_module("tests.support.fuzzed")
    parser = argparse.ArgumentParser(prog="python -m tests.support.fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=int, default=180, help="for each target")
    parser.add_argument("--target", choices=[*fuzzed.TARGETS], action="append", help="default: all")
    chosen = parser.parse_args()
    try:
        seeds = fuzzed.seeds()
        found_nothing = [run(name, chosen.seconds, seeds[name]) for name in chosen.target or fuzzed.TARGETS]
        return 0 if all(found_nothing) else 1
    finally:
        shutil.rmtree(fuzzed.FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
