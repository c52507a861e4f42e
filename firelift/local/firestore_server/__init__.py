"""A Firestore on this machine: it serves a database that is kept in memory, made by rule, or another server's, with production's rules.

For tests and benchmarks, and for the demo where no emulator is to be had. `server.py` starts one.
"""
