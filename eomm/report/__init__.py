"""Everything that was found, on one page."""
