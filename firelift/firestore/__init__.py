"""Firestore: its channel, its streams and its values."""
