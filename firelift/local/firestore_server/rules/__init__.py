"""What production does and the emulator does not, as rules that a server is given one by one.

`documented` of each names the page that says so; where documentation is silent it names who has seen it, and the other behaviour that may
be is a parameter. Pages were read in November 2026.
"""
