"""Where a recording goes: a file, a pipe, memory until it is dumped; what it may take, and how it ends."""
