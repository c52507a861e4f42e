"""Exact comparison: tables of the target against the documents that they stand for."""
