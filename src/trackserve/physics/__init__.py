"""How good results are: matching to the truth, efficiencies, resolutions, statistics."""
