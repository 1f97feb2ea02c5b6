"""Many sites in one folder: done one beside the other, and how far they are. Not what is made of a site."""

from collections.abc import Callable, Iterable, Sequence

from eomm.store.fields import Json
from eomm.store.folders import is_disk_full
from eomm.store.notes import Notes
from eomm.store.progress import Progress
from eomm.store.workers import Pool, Work, reason_of, run_units


def do_sites(
    function: Callable[[tuple[str, Work]], None],
    sites: Sequence[tuple[str, Work]],
    notes: Notes,
    pool: Pool,
    *,
    finished: int,
    progress: Progress | None,
) -> None:
    """Do the work of every site; one that fails is noted and stops no other.

    Args:
        function: takes one of them, does it, and notes that it is done; see `run_units`.
        sites: names and what their work is.
        notes: where reasons go.
        pool: who does it.
        finished: sites that are done already.
        progress: called with (sites done or failed, sites in all).

    Raises:
        DiskFull, OSError: the disk is full, which would fail all that follow.
        UsageError: no worker can be had.
    """
    total = finished + len(sites)
    for count, ((name, _), _, error) in enumerate(run_units(function, sites, pool), finished + 1):
        if error is not None:
            notes.failed(name, reason_of(error))
            if is_disk_full(error):
                raise error
        if progress:
            progress(count, total)


def standing(names: Sequence[str], notes: Notes, made: Iterable[str]) -> Json:
    """How far sites are of which those in `made` are done: counts, and by name why some failed."""
    done = set(made)
    failures = {name: reason for name in names if name not in done and (reason := notes.failure(name))}
    waiting = len(names) - len(done) - len(failures)
    return {"sites": len(names), "done": len(done), "failed": len(failures), "waiting": waiting, "failures": failures}


def format_standing(found: Json, *, where: str = "", more: str = "") -> str:
    """For people; `where` and `more` are told with the counts."""
    head = f"{found['done']} done, {found['failed']} failed, {found['waiting']} waiting"
    lines = [f"{found['sites']} sites{where}: {head}{more}"]
    return "\n".join(lines + [f"  {name}: {reason}" for name, reason in found["failures"].items()])
