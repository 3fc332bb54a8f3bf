"""The backend inside Triton's process: a library in C, and the Python that it starts there."""
