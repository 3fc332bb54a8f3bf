"""Where code runs: how formulas and loops are compiled, and the memory that they use."""
