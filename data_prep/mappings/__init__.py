"""Which file holds which band in which unit: one TOML per kind of source, read by `mapping`."""
