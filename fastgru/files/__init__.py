"""Files of the package's own formats."""
