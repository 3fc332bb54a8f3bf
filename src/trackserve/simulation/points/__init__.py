"""Space points of the GenericDetector."""
