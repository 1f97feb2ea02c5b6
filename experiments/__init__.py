"""Shipped experiments: each file's `get_config()` returns a configuration for `eomm train --config`."""
