"""What a model's scores are, each beside its baselines. One file per question."""
