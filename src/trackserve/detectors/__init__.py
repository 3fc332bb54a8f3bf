"""Layouts, geometry and conditions of detectors, for tracking and for simulation."""
