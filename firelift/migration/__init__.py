"""A migration from its settings to its end, and what can be done to it: stop, verify, roll back."""
