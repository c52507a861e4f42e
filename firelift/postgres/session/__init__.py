"""Connections to the target: settings, locks, errors, owners."""
