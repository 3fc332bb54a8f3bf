"""Patatrack: a rule-based tracker of pixels, from raw words to vertices."""
