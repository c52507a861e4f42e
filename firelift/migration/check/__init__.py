"""Before a migration: whether it can run, what it would cost, and the most that it may."""
