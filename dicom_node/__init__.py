"""The node: what touches a socket, a file, the clock, a thread, the environment, a logger or the database.

In: cines from scanners. Out: result objects at their destinations.
This room never does arithmetic on amplitudes and never writes a tag of a result.
"""
