"""Simulation of the pixel detector: collisions, transport, response, read-out."""
