"""Staged rows into the published tables in one transaction, and back."""
