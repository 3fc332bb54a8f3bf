"""Simulated events with their truth."""
