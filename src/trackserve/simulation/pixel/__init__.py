"""Raw words of the Phase-1 pixel detector."""
