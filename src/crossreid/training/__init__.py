"""The training loop, its state and steps, optimisers, checkpoints and logs."""
