"""An incremental run: what has changed since the tables were published."""
