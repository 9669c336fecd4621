"""The BPF programs of a recording, from declared sources to what they have counted."""
