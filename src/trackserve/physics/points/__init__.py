"""Candidates of space points beside their truth."""
