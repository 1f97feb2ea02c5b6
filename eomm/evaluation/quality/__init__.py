"""How good vectors of single pixels and parcels are: tasks, closed forms beside them, scores with intervals, verdicts.

Nothing here knows a data set; which series a task takes, and whose labels, is said by whoever runs it.
"""
