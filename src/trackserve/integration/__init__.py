"""Our trackers in other people's frameworks."""
