"""What embeddings are worth, each score beside its baselines, with an interval. A package per question.

`hidden` acquisitions, `probes` of labels, `gpp` of towers, `coherence` in space and time, `quality` at the tasks of a
bench. All give a `result.Result` (written and read by `result_file`, put into words by `say` and `text`); what else
they share lies beside: `bootstrap`, `folds`, `features`, `labels`, `baselines`, `pictures`.

Words: a *verdict* tells whether a claim is borne out; a method *beats* another where the interval of their paired
difference lies above 0.
"""
