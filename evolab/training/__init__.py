"""The only training loop, its state, and checkpoints of it."""
