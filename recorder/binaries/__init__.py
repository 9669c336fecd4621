"""The files that ran, read piece by piece: for names, and for unwind tables."""
