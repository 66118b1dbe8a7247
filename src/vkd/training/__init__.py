"""The training loop that every task shares, with its checkpoints and logs."""
