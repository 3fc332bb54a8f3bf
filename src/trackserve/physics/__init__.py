"""How good are results: matching to the truth, efficiencies, resolutions, statistics."""
