"""The machine that is recorded: its processes, and what of it a recording tells."""
