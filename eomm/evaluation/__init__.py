"""What embeddings are worth, each score beside its baselines, with an interval. A package per question.

`hidden` acquisitions, `probes` of labels, `gpp` of towers, `coherence` in space and time; what they share lies beside:
`bootstrap`, `folds`, `features`, `labels`, `baselines`.
"""
