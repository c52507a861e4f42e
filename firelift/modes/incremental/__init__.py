"""An incremental run: applies what has changed since the tables were published."""
