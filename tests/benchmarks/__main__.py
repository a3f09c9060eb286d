"""Speed and memory, side by side in one run: `python -m tests.benchmarks [NAME ...]`; `--help` lists the options.

Sizes that fit a machine: `--records 50000` is a first look, `--records 1000000 --quick` stays within a quarter of an
hour on a quiet machine, `--records 10000000 --quick --rivals ''` takes ten times as long.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.benchmarks import curve, journal, pages, poll, publishing, rivals, staging, values

NAMES: Final = ("poll", "publishing", "journal", "pages", "staging", "values", "curve")
USUAL: Final = ("poll", "publishing")
"""What is measured where nothing is named."""
QUICK_CHURNS: Final = (1,)


def main() -> None:
    """Run the named benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: {', '.join(USUAL)}")
    parser.add_argument("--records", type=int, default=1_000_000, help="in a snapshot (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each step of `poll` is measured (default: 3)")
    parser.add_argument("--churn", default="1,0,30", help="records in a hundred that differ (default: 1,0,30)")
    parser.add_argument("--flavours", default="files,json", help="of the export (default: files,json)")
    parser.add_argument("--rivals", default=",".join(rivals.RIVALS), help="'' for none (default: all)")
    parser.add_argument("--rival-rounds", type=int, default=3, help="how often each rival is measured (default: 3)")
    parser.add_argument("--quick", action="store_true", help="files alone, 1 %% churn, each rival once")
    parser.add_argument("--broker", choices=("real", "mock"), default="real", help="Kafka of `poll` (default: real)")
    parser.add_argument("--memory-limit-mib", type=int, default=0, help="state.memory_limit_mib (default: its default)")
    parser.add_argument("--changes", type=int, default=1_000_000, help="in `journal` and `pages` (default: 1,000,000)")
    parser.add_argument("--polls", type=int, default=10, help="until `staging` shows the state file (default: 10)")
    parser.add_argument("--sizes", default="1,10,30", help="of the `curve`, in millions of records (default: 1,10,30)")
    given = parser.parse_args()
    unknown = set(given.names) - set(NAMES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    chosen = tuple(filter(None, given.rivals.split(",")))
    if strangers := set(chosen) - rivals.RIVALS.keys():
        parser.error(f"no such rival: {', '.join(sorted(strangers))}; there are {', '.join(rivals.RIVALS)}")
    options = poll.Options(
        records=given.records,
        rounds=given.rounds,
        churns=tuple(int(churn) for churn in given.churn.split(",")),
        flavours=tuple(given.flavours.split(",")),
        rivals=chosen,
        rival_rounds=given.rival_rounds,
        broker=given.broker,
        memory_limit_mib=given.memory_limit_mib,
    )
    if given.quick:
        options = replace(options, churns=QUICK_CHURNS, flavours=("files",), rival_rounds=1)
    steps: dict[str, Callable[[], None]] = {
        "poll": lambda: poll.run(options),
        "publishing": lambda: publishing.run(given.records),
        "journal": lambda: journal.run(given.changes),
        "pages": lambda: pages.run(given.records, given.changes),
        "staging": lambda: staging.run(given.records, polls=given.polls),
        "values": lambda: values.run(given.records),
        "curve": lambda: curve.run([int(float(size) * 1e6) for size in given.sizes.split(",")], options),
    }
    for name in given.names or USUAL:
        steps[name]()


if __name__ == "__main__":
    main()
