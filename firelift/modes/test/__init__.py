"""A test run: a sample, a scratch schema, an estimate."""
