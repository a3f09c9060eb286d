"""`make bench`: speed and memory as ratios to the decompression of the same files, side by side in one run."""

from __future__ import annotations

import argparse

from tests.benchmarks import poll


def main() -> None:
    """Measure, and print a table; every CPU ratio is to `zcat` of the same files, in this very run."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--records", type=int, default=1_000_000)
    rows = list(poll.run(parser.parse_args().records))
    (yardstick,) = (row.cpu_seconds for row in rows if row.name.startswith("zcat"))
    print(f"{'':<18} {'wall s':>7} {'CPU s':>7} {'x zcat':>7} {'MiB':>6}")
    for row in rows:
        figures = (
            f"{row.wall_seconds:>7.1f} {row.cpu_seconds:>7.1f} {row.cpu_seconds / yardstick:>7.1f} {row.peak_mib:>6}"
        )
        print(f"{row.name:<18} {figures}  {row.note}")


if __name__ == "__main__":
    main()
