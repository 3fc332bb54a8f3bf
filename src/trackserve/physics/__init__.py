"""Quality of results: matching to the truth, efficiencies, resolutions, statistics."""
