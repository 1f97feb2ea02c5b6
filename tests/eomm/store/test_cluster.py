import json

import pytest

from eomm.errors import UsageError
from eomm.store import workers as cluster
from eomm.store.workers import Pool, run_units


def halve(n):
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


def outcomes(found):
    return sorted((n, half, str(error) if error else "") for n, half, error in found)


EXPECTED = [(0, 0, ""), (1, None, "1 is odd"), (2, 1, ""), (3, None, "3 is odd"), (4, 2, "")]


def test_a_unit_that_fails_stops_no_other_and_units_are_taken_as_they_are_needed():
    taken = []
    units = (taken.append(n) or n for n in range(5))
    found = run_units(halve, units)
    first = next(found)
    assert first[0] == 0 and len(taken) <= cluster.AHEAD + 1
    assert outcomes([first, *found]) == EXPECTED
    assert outcomes(run_units(halve, [])) == []


def test_who_interrupts_is_obeyed_at_once():
    done = []

    def interrupted(n):
        if n == 1:
            raise KeyboardInterrupt
        done.append(n)

    with pytest.raises(KeyboardInterrupt):
        list(run_units(interrupted, range(3)))
    assert done == [0]


def test_a_running_scheduler_is_found_by_its_address_or_its_file(tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as running:
        file = tmp_path / "scheduler.json"
        file.write_text(json.dumps({"address": running.scheduler_address, "type": "Scheduler"}))
        for scheduler in (running.scheduler_address, str(file)):
            assert outcomes(run_units(halve, range(5), Pool(scheduler=scheduler))) == EXPECTED


def test_workers_that_come_later_are_given_units_too():
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=1, **options) as running, Client(running) as client:
        taken = []
        found = run_units(
            halve, (taken.append(n) or n for n in range(0, 40, 2)), Pool(scheduler=running.scheduler_address)
        )
        done = [next(found)]
        assert len(taken) <= cluster.AHEAD + 1
        running.scale(3)
        client.wait_for_workers(3)
        done += [next(found), next(found)]
        assert len(taken) >= 3 * cluster.AHEAD
        assert len(done + list(found)) == 20


def test_a_scheduler_that_is_not_there_or_has_no_workers_is_named(monkeypatch, tmp_path):
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "CONNECT", 1)
    with pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:9: cannot be reached"):
        list(run_units(halve, [1], Pool(scheduler="tcp://127.0.0.1:9")))
    with pytest.raises(UsageError, match=r"none\.json: no such file"):
        list(run_units(halve, [1], Pool(scheduler=str(tmp_path / "none.json"))))
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty,
        pytest.raises(UsageError, match="has no workers"),
    ):
        list(run_units(halve, [1], Pool(scheduler=empty.scheduler_address)))


def test_workers_that_can_never_come_are_refused_instead_of_waited_for():
    for workers, memory in ((-1, None), (0, None), (2, 0.0)):
        with (
            pytest.raises(UsageError, match="expected one or more"),
            cluster.connect(Pool(workers=workers, memory_gib=memory)),
        ):
            pass


@pytest.mark.whole
def test_a_local_cluster_takes_no_port_that_others_use():
    with cluster.connect(Pool(workers=1, memory_gib=1)) as one, cluster.connect(Pool(workers=1, memory_gib=1)) as other:
        ports = [c.scheduler_info()["services"].get("dashboard") for c in (one, other)]
    assert 8787 not in ports and len(set(ports)) == 2
