"""A front of many servers: an Envoy that is set up, run and drained."""
