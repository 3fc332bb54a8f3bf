"""Exa.TrkX: a learned tracker, from space points to track candidates."""
