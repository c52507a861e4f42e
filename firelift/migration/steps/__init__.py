"""The steps of a migration: each takes the migration and what earlier steps returned, and returns its receipt."""
