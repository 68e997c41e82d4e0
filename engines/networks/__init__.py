"""Networks as torch modules and the readers of their checkpoint formats."""
