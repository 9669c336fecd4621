"""offwake: record a Linux machine with BPF, copy one file, and see why threads were not running."""

__version__ = "0.1.0"
