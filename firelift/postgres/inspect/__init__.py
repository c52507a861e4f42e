"""Questions to tables; reading only."""
