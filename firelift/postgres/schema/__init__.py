"""Schemas, tables, keys and what stands in their way."""
