"""Exact comparison of the target's tables with the documents that their rows were made from."""
