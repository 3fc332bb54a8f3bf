"""What client and server agree on: events and results as named tensors."""
