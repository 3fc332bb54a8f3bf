"""Content of a data directory."""
