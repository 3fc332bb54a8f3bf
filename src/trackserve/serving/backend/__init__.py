"""The part of the server that runs inside Triton."""
