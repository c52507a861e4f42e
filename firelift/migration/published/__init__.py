"""Published tables, once more: verified, or one document of them shown beside its row."""
