"""Schemas, tables and keys: making them, and what prevents that."""
