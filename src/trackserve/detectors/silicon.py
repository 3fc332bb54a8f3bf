"""Silicon, of which sensors are made."""

SILICON_LENGTH = 9.37
"""Radiation length, cm (Particle Data Group). All material counts as silicon."""
