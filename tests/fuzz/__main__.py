"""Command line: ``python -m tests.fuzz [--inputs N] [--first N] [--seed S] [TARGET ...]``; status 1 where an input failed."""

from __future__ import annotations

import argparse
import sys

from .runner import run
from .targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="give damaged and senseless inputs to whatever takes them"
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} [all]")
    parser.add_argument("--inputs", type=int, default=1000, help="inputs for each target [1000]")
    parser.add_argument("--first", type=int, default=0, help="number of the first: with --inputs 1 one alone [0]")
    parser.add_argument("--seed", default="1", help="another seed gives other inputs [1]")
    parsed = parser.parse_args()
    unknown = set(parsed.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    failed = False
    for name in parsed.targets or TARGETS:
        report = run(name, parsed.inputs, first=parsed.first, seed=parsed.seed)
        failed |= bool(report.failures)
        print(
            f"{name}: {report.tried} inputs in {report.seconds:.0f} s, {report.refused} refused, {report.taken} taken, "
            f"{report.failed} failed",
            flush=True,
        )
        for failure in report.failures:
            print(f"  input {failure.number}: {failure.what}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
