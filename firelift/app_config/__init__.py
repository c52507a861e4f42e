"""The app's own configuration, updated after a migration."""
