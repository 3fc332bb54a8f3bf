"""A tracker in C behind trackserve's interface."""
