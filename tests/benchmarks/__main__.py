"""Speed and memory, side by side in one run: `python -m tests.benchmarks [NAME ...] [--records N] [--changes N]`."""

from __future__ import annotations

import argparse
from typing import Final

from tests.benchmarks import journal, poll, publishing, staging, values

BENCHMARKS: Final = {
    "staging": staging.run,
    "poll": poll.run,
    "publishing": publishing.run,
    "journal": journal.run,
    "values": values.run,
}
"""By name: what is given the number of records, or of changes in the journal, and prints its own table."""


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--records", type=int, default=1_000_000, help="records in a snapshot (default: 1,000,000)")
    parser.add_argument("--changes", type=int, default=1_000_000, help="changes in a journal (default: 1,000,000)")
    options = parser.parse_args()
    unknown = set(options.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    for name in options.names or BENCHMARKS:
        BENCHMARKS[name](options.changes if name == "journal" else options.records)


if __name__ == "__main__":
    main()
