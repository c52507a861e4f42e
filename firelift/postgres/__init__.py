"""Everything Firelift does in the target database."""
