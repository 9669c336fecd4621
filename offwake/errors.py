"""Every error that offwake raises on purpose, as one tree.

    OffwakeError                 exit 1: it failed, and the message says what, where and what to do
    ├── UsageError               exit 2: the request itself is wrong
    ├── CannotRecord             this machine or this user cannot record
    ├── OutputError              the output cannot be written where it was asked for
    ├── NotARecording            the input is no .offwake file
    ├── UnsupportedVersion       the input was written by a newer, incompatible offwake
    └── DamagedRecording         exit 4: nothing usable is left of the file

Lost events and damaged tails are data, not exceptions: readers count them and go on. Only the command line prints
errors and picks exit codes; only the web application turns them into HTTP statuses.
"""

__all__ = [
    "CannotRecord",
    "DamagedRecording",
    "NotARecording",
    "OffwakeError",
    "OutputError",
    "UnsupportedVersion",
    "UsageError",
]


class OffwakeError(Exception):
    """Something that the user can be told in one line."""

    exit_code = 1


class UsageError(OffwakeError):
    """The request itself is wrong: an unknown view, source or field, or options that contradict each other."""

    exit_code = 2


class CannotRecord(OffwakeError):
    """This machine, kernel or user cannot record."""


class OutputError(OffwakeError):
    """The output exists already, or cannot be written."""


class NotARecording(OffwakeError):
    """The input is not an offwake recording."""


class UnsupportedVersion(OffwakeError):
    """The recording has a newer major version than this reader."""


class DamagedRecording(OffwakeError):
    """The recording is so damaged that nothing can be read from it."""

    exit_code = 4
