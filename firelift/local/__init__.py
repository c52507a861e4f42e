"""Services that `firelift demo`, the tests and the benchmarks start on this machine."""
