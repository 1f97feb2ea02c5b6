"""A run's directory explains itself: configuration, environment, metrics; and tells whether a run is the same run.

config.json        the configuration of the latest start
environment.json   a list, one entry per start: step, time, versions, devices, git revision, data
metrics.jsonl      one JSON object per line: {"step": …, "loss": …}; validation's keys begin with "validation/"
tensorboard/       the same for TensorBoard, where config.metrics names it (writers.py)
checkpoints/       checkpoint.py
profile/           a trace, where one was asked for (meter.py)
bad_step_STEP/     the batch at which a run gave up (`write_dump`)
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import jax
import numpy as np
from ml_collections import ConfigDict

from eomm.data.batches import Batch
from eomm.data.mixture import Mixture, Share
from eomm.errors import UsageError
from eomm.models.interface import path_name
from eomm.store.digest import digest_text, sha256
from eomm.store.fields import Json
from eomm.store.folders import check_free, check_outside, locked, read_json, write_json
from eomm.training.config import flatten
from eomm.training.objective import Objective

MAY_CHANGE = (
    r"^(log_every|save_every|validate_every|validate_batches|keep_checkpoints|max_bad_steps|calibrate_records|metrics|mesh\..*"
    r"|data\.(records|validation|threads|on_bad_record)|encoders)$"
)
"""Configuration that neither the order of the data nor what is trained depends on; records and encoders are paths,
whose content is compared instead."""

DEFAULTS = {
    "accumulate": 1,
    "encoder.dim": 0,
    "data.balance": "",
    "data.weights": [],
    "data.batch_sizes": [],
    "data.group_weights": [],
    "remat": False,
    "best.metric": "",
    "best.patience": 0,
    "init": "",
    "weight": 0.0,
    "encoder.band_flags": False,
    "decoder.leading": 0,
    "decoder.geometry": False,
    "decoder.nearest": False,
    **{f"objective.{f.name}": json.loads(json.dumps(f.default)) for f in dataclasses.fields(Objective)},
}
"""What a configuration without these values means."""

OURS = ("config.json", "metrics.jsonl")  # files that would be replaced; environment.json is written with them
PACKAGES = ("eomm", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "array-record", "numpy")


def check_workdir(workdir: Path) -> None:
    """Raise UsageError where a run would replace what another program has written; it may be new, or hold a run."""
    check_outside(workdir / "run")
    foreign = [n for n in OURS if (workdir / n).exists()]
    if foreign and not (workdir / "environment.json").is_file() and not (workdir / "checkpoints").is_dir():
        raise UsageError(f"{workdir}: holds {', '.join(foreign)} and no run of eomm; choose another --workdir")
    check_free(workdir / "model", overwrite=True, kind="model")  # in the end; rather now than after the training


@contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Be the only run in a directory; on several hosts process 0 claims it for all.

    Raises:
        UsageError: another process trains there, or see `check_workdir`.
    """
    check_workdir(workdir)
    if jax.process_index():
        yield
        return
    with locked(workdir, file=workdir / "run.lock"):
        yield


def identity(config: ConfigDict, mixture: Mixture, stage_name: str, frozen: Any) -> Json:
    """What makes two runs the same run, as JSON types."""
    # Where validation moves the learning rate or chooses the parameters, the model depends on it.
    validated = config.optimiser.schedule == "plateau" or config.get("best", {}).get("metric")
    fixed = r"^(validate_|data\.validation$)" if validated else "^$"
    values = {k: v for k, v in flatten(config) if re.search(fixed, k) or not re.search(MAY_CHANGE, k)}
    described = {"config": values, "stage": stage_name, "records": mixture.data_hash, "frozen": tree_hash(frozen)}
    return json.loads(json.dumps(described, default=str))


def check_same_run(saved: Mapping[str, Any], current: Mapping[str, Any], workdir: Path) -> None:
    """Raise UsageError that lists every difference between the run in `workdir` and the one asked for."""
    was, asked = (DEFAULTS | run["config"] for run in (saved, current))
    absent = "absent"
    lines = [
        f"{key}: it has {was.get(key, absent)!r}, asked for {asked.get(key, absent)!r}"
        for key in dict.fromkeys([*was, *asked])
        if was.get(key, absent) != asked.get(key, absent)
    ]
    described = {"stage": "stage", "records": "hash of the record set", "frozen": "hash of the frozen parameters"}
    lines += [
        f"{words}: it has {saved[key]}, asked for {current[key]}"
        for key, words in described.items()
        if saved[key] != current[key]
    ]
    if lines:
        raise UsageError(
            f"{workdir}: holds another run, which cannot be resumed as this one: {'; '.join(lines)}. "
            "Choose another --workdir, or run with the same configuration and data"
        )


def tree_hash(tree: Any) -> str:
    """16 hex digits that stand for a tree's paths, dtypes, shapes and values."""
    leaves = ((path_name(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree))
    return digest_text("", ((f"{path} {array.dtype} {array.shape};", array) for path, array in leaves))


def describe_start(workdir: Path, config: ConfigDict, mixture: Mixture, *, step: int) -> None:
    """Write config.json and add this start to environment.json."""
    write_json(workdir / "config.json", json.loads(json.dumps(dict(flatten(config)), default=str)))
    file = workdir / "environment.json"
    sets = [_describe_share(s) for s in mixture.shares]
    start = {
        "step": step,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {p: importlib.metadata.version(p) for p in PACKAGES},
        "devices": {"kind": jax.devices()[0].device_kind, "count": jax.device_count(), "hosts": jax.process_count()},
        "git": git_revision(),
        "records": sets[0] if mixture.single else sets,
    }
    write_json(file, [*(read_json(file) if file.exists() else []), start])


def note_compiling(workdir: Path, seconds: float) -> None:
    """Add to this start what its programs took to compile."""
    *earlier, start = read_json(workdir / "environment.json")
    write_json(workdir / "environment.json", [*earlier, {**start, "seconds_compiling": round(seconds, 2)}])


def _describe_share(share: Share) -> dict[str, Any]:
    manifest = share.records.path / "manifest.json"
    return {
        "path": str(share.records.path.resolve()),
        "hash": share.records.data_hash,
        "manifest_sha256": sha256(manifest),
        "weight": share.weight,
        "batch_size": share.batch_size,
    }


def git_revision() -> str | None:
    """Commit of the checkout that eomm runs from, with "+" when files differ from it; None where it is none.

    Installed from a clone by `pip install .`, it is that of the clone as it is now, and said so.
    """
    here = Path(__file__).parent
    # Installed into someone else's checkout (a .venv inside it), its revision would say nothing of ours.
    if _git(here, "ls-files", Path(__file__).name):
        return _revision(here)
    clone = _installed_from()
    found = _revision(clone) if clone and _git(clone, "ls-files", "eomm/__init__.py") else None
    return f"{found} (of the clone that it was installed from)" if found else None


def _revision(folder: Path) -> str | None:
    head = _git(folder, "rev-parse", "HEAD")
    return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "") if head else None


def _installed_from() -> Path | None:
    """The folder that pip installed eomm from (PEP 610); None where it came from elsewhere."""
    try:
        text = importlib.metadata.distribution("eomm").read_text("direct_url.json")
        url = urlparse(json.loads(text or "{}").get("url", ""))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    return Path(unquote(url.path)) if url.scheme == "file" else None


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; "" where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def write_dump(
    workdir: Path,
    *,
    step: int,
    batch_number: int,
    records: Sequence[Mapping[str, Any]],
    terms: Mapping[str, Any],
    batch: Batch,
) -> Path:
    """Write `workdir/bad_step_STEP` and return it.

    `bad_step.json` holds step, number of the batch, loss terms (numbers, or "nan", "inf") and the record of each row;
    `batch-HOST.npz` this host's rows as they went into the step, by "modality/field".

    Args:
        workdir: the run's directory.
        step: that was not finite, from 1.
        batch_number: of the global batch, from 0.
        records: `Mixture.batch_records` of its number.
        terms: {name: (sum, count)} of the step.
        batch: this host's rows.
    """
    folder = workdir / f"bad_step_{step}"
    folder.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {f"{name}/{field}": x for name, fields in batch.items() for field, x in fields.items()}
    np.savez_compressed(folder / f"batch-{jax.process_index()}.npz", **arrays)
    if jax.process_index() == 0:
        values = {name: _number(float(total), float(count)) for name, (total, count) in terms.items()}
        described = {"step": step, "batch": batch_number, "terms": values, "records": list(records)}
        write_json(folder / "bad_step.json", described)
    return folder


def _number(total: float, count: float) -> float | str:
    mean = total / count if count else math.nan
    return mean if math.isfinite(mean) else str(mean)
