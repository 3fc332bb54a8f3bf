"""Devices: compilation and cache of formulas and loops; memory, copies, scans and sorts."""
