"""A Prefect server of a command's own, for as long as the command runs."""
