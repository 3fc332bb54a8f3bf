"""Many files: who works on them, and the manifest of what they came to."""
