"""Training of the learned tracker; nothing that serves imports it."""
