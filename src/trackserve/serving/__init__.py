"""Serving the pipelines by Triton: tensors, model repository, backend and server."""
