"""Rows into staging tables."""
