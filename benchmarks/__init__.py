"""One file per question; each prints a table, or one JSON object with --json."""
