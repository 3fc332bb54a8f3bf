"""What a data directory holds."""
