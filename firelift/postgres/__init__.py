"""The Postgres room: everything that is said to the target database."""
