"""The generation of collisions, and the making of a directory of events."""
