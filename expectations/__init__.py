"""Great Expectations suites: what must hold of the staged tables."""
