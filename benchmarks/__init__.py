"""Measures Firelift against the fastest way its documents can be read."""
