"""Records that are replaced while a run reads them end it before anything of the mixture is saved."""

import shutil

import pytest

from eomm.data.records import open_records
from eomm.errors import DataError, UsageError
from eomm.training.checkpoint import Checkpoints
from eomm.training.loop import train
from tests.eomm.safety.stores import change_json
from tests.eomm.tiny import make_config, make_records, make_stage


def test_a_run_ends_at_the_save_before_which_its_records_were_replaced(tmp_path, monkeypatch):
    path = make_records(tmp_path / "records").path
    shutil.copytree(path, tmp_path / "others")
    change_json(tmp_path / "others/manifest.json", lambda m: m["files"][0].update(sha256="0" * 64))
    save, saved = Checkpoints.save, []

    def replaced_after_the_first(self, step, *args, **kwargs):
        save(self, step, *args, **kwargs)
        saved.append(step)
        shutil.rmtree(path)
        shutil.copytree(tmp_path / "others", path)

    monkeypatch.setattr(Checkpoints, "save", replaced_after_the_first)
    given = {"config": make_config(steps=6, save_every=2), "records": open_records(path), "workdir": tmp_path / "run"}
    with pytest.raises(DataError, match="records: was replaced since it was opened"):
        train(make_stage(), **given)
    assert saved == [2]
    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(UsageError, match="hash of the record set"):
        train(make_stage(), **{**given, "records": open_records(path)})
