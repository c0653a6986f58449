"""The optional registry of the partially distributed mode."""
