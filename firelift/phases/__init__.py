"""What each phase of a migration does, as functions that know nothing of Prefect."""
