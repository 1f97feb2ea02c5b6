"""Many sites, each a unit of its own."""
