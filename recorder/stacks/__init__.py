"""What makes stacks cheap: what the BPF programs must know to recognize them, and how it is learned."""
