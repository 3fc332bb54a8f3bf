"""What runs inside Triton."""
