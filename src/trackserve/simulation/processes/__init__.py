"""What particles do in any detector: they scatter, lose energy, interact with nuclei, and decay."""

PHYSICS = 2
"""Number of what is simulated. It grows when the same arguments give other events."""
