"""What particles do in a detector, whichever it is: they scatter, interact with nuclei, and decay."""

PHYSICS = 2
"""Number of what is simulated. It grows when the same arguments give other events."""
