"""Training: what is trained (`stage`, `stages`, `published`, `objective`) and the one loop that trains it.

Rooms: `config`, `experiment` (a configuration to a model), `loop`, `program` (a stage on a mesh), `step`, `optimiser`,
`judge` (validation), `checkpoint`, `rundir`, `meter`, `mesh` and `hosts` (devices and processes), `plan`, `cost` and
`accelerators` (what it takes), `allocator`.

Words: a *stage* is what is trained: an encoder alone, or the *fusion head* over frozen encoders; a *mesh* is the
devices, a *host* a process among several.
"""
