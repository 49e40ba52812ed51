"""The training loop, its optimisers, checkpoints and logs."""
