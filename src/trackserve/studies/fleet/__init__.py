"""How many jobs a device feeds, and how many servers a fleet of jobs needs, by simulation.

Jobs, servers and the network between them are simulated event by event (SimPy) with times that
were measured, or that a file gives.
"""
