"""`offwake doctor`: can this machine record?"""

import argparse
import json
from dataclasses import asdict

from offwake.recorder.doctor import examine
from offwake.recorder.host.machine_checks import MISSING, Check

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print every check; returns 0 when this machine can record, else 1."""
    checks = examine()
    can_record = all(check.verdict != MISSING for check in checks)
    if args.json:
        print(json.dumps({"can_record": can_record, "checks": [asdict(check) for check in checks]}))
    else:
        print("\n".join(_line(check) for check in checks))
        print("This machine can record." if can_record else "This machine cannot record: mend what is missing.")
    return 0 if can_record else 1


def _line(check: Check) -> str:
    return f"{check.verdict:<8} {check.name:<14} {check.sentence}"
