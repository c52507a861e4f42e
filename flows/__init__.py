"""The workflows as a reader sees them: order and fan-out, nothing else."""
