"""The `offwake` command: finds the subcommand, runs it, prints errors and picks the exit code.

Only the subcommand that is asked for is imported, so that `offwake --help` and `offwake record` load no numpy.
"""

import argparse
import importlib
import os
import sys
from types import ModuleType

from offwake import __version__
from offwake.analyzer.render.text import printable
from offwake.commands import COMMANDS, installed
from offwake.errors import OffwakeError, UsageError

__all__ = ["main"]

ELSEWHERE = "this is the recorder alone: copy the recording to where offwake is installed, and analyze it there"
LIBRARIES = ("msgpack", "zstandard")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 usage, 3 events were lost, 4 the file is damaged."""
    _open_standard_streams()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        parser = _parser(words[0] if words else "")
        args = parser.parse_args(words)
        if "run" not in args:
            parser.print_help()
            return 0
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except OffwakeError as error:
        print(printable(f"offwake: {error}"), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # such as a full disk behind standard output
        print(f"offwake: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed, so that no file that is opened later takes its place."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))


def _parser(wanted: str) -> argparse.ArgumentParser:
    here = installed()
    if wanted in COMMANDS and wanted not in here:
        raise UsageError(f"{wanted}: {ELSEWHERE}")
    parser = argparse.ArgumentParser(
        prog="offwake",
        description="Record a Linux machine with BPF, and see why threads were not running.",
        epilog=None if here == COMMANDS else ELSEWHERE,
    )
    parser.add_argument("--version", action="version", version=f"offwake {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, summary in here.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == wanted:
            module = _imported(name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _imported(name: str) -> ModuleType:
    """Import a command's module. Where pip did not see to it, the distribution's packages may be missing."""
    try:
        return importlib.import_module(f"offwake.commands.{name}")
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        package = f"python3-{error.name}"
        raise OffwakeError(f"Python has no {error.name}; install it with `apt-get install {package}`") from error
