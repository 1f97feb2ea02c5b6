"""Hidden targets: whole acquisitions that no method has seen, predicted from the rest of the series."""
