"""How collisions are generated, and how a directory of events is made from them."""
