"""What particles do in a detector, whichever it is: they interact with nuclei, and decay."""
