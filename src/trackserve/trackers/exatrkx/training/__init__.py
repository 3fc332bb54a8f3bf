"""Training of the learned tracker; the serving code imports nothing from here."""
