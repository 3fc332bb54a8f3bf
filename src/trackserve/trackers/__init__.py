"""The trackers, and what every tracker is."""
