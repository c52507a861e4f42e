"""Prefect's own server for the length of one command, where none is named."""
