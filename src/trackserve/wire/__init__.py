"""The protocol of client and server: events and results as named tensors."""
