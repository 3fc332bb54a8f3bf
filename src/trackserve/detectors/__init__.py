"""What tracking and simulation both need to know of a detector."""
