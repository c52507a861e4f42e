"""Firelift moves a Firestore database into PostgreSQL, exactly."""

__version__ = "0.1.0"
