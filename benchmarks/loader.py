"""How many training targets per second does reading give, beside the published loader's layout, and does it hide?

python -m eomm.benchmarks.loader --json    (three minutes on 2 cores, most of it simulating the site)

Expected before it was measured: of two threads on 0.8 MB records 400 records per second, so about 800,000 targets, and
some 5,000 samples of 100 kB, so 5,000 targets: 160 times; at least 5 times. Bytes per target: 0.5 kB and 102 kB.
"""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
from ml_collections import ConfigDict

from eomm.data.cube import CubeGroup, open_cube
from eomm.data.records import RecordSet, open_records
from eomm.models.directory import build_part
from eomm.training.config import load_config

from . import train
from .common import Result, best_seconds, make_cube, make_records, print_result
from .published import PLACES, SIDE, SPAN_DAYS, places

SIZE_PX = 96
STEPS = 5
BATCH = 16  # samples, as published


def run(*, size_px: int = SIZE_PX, steps: int = STEPS, repeats: int = 3, overrides: Sequence[str] = ()) -> Result:
    """The Sentinel-2 of one simulated site, as our records and as published samples; all read from the page cache.

    A target is a pixel at an acquisition of which a training step makes one embedding, and that is valid. A record
    counts its mean number of valid pixels inside the halo, times the target acquisitions drawn from it: what one step
    uses, though every acquisition of the record may be drawn. A published sample counts 1, its centre: one
    embedding is made of it. `targets_per_second` is ours.
    """
    config = load_config("s2", overrides)
    with tempfile.TemporaryDirectory() as name:
        cube = make_cube(Path(name), size_px=size_px)
        records = open_records(make_records(Path(name), cube))
        trained = train.measure(config, records, steps=steps, repeats=repeats)
        found = compare(config, records, cube, steps=steps, repeats=repeats)
    kept = (
        "step_alone_records_per_second",
        "pipeline_alone_records_per_second",
        "records_per_second",
        "pipeline_ahead_of_step",
        "step_alone_share_of_training",
        *("batch_size", "steps", "repeats", "device", "cores", "load", "jax"),
    )
    return {**found, **{name: trained[name] for name in kept}, "simulated": True}


def compare(config: ConfigDict, records: RecordSet, cube: Path, *, steps: int, repeats: int) -> Result:
    """Reading alone, our records of a cube beside published samples of it; the samples are written beside it."""
    file = cube.parent / "published.h5"
    samples = write_published(file, open_cube(cube)["s2"])
    theirs = read_published(file, steps=steps, repeats=repeats)
    encoder = build_part("encoder", config.encoder, records.shapes["s2"].modality)
    per_record = targets_per_record(config, records, halo=encoder.halo)
    rate = train.reading_rate(config, records, steps=steps, repeats=repeats)
    entry = records.manifest["files"][0]
    return {
        "targets_per_second": per_record * rate,
        "published_layout_targets_per_second": theirs["samples_per_second"],
        "times_as_many": per_record * rate / theirs["samples_per_second"],
        "bytes_per_target": entry["bytes"] / entry["records"] / per_record,
        "published_layout_bytes_per_target": theirs["bytes_per_sample"],
        "targets_per_record": per_record,
        "published_layout_samples": samples,
    }


def targets_per_record(config: ConfigDict, records: RecordSet, *, halo: int) -> float:
    """Valid pixels inside the halo at the target acquisitions of a record, on average over one epoch.

    Acquisitions count alike; training draws clearer ones more often, so that it uses more.
    """
    inside = slice(halo, -halo)
    with closing(train.read(config, records)) as source:
        batches = (next(source) for _ in range(-(-records.count(config.data.split) // config.data.batch_size)))
        valid = np.mean([b[config.modality]["valid"][:, :, inside, inside].sum((2, 3)).mean() for b in batches])
    return float(valid) * config.objective.targets


def write_published(path: Path, group: CubeGroup, *, seed: int = 0) -> int:
    """Samples in the published loader's layout, HDF5 and float32, contiguous, gaps filled; returns their number."""
    usable = np.flatnonzero(group.usable)
    day = group.day[usable]
    stored, valid = group.read(usable)
    values = np.clip(group.modality.decode(stored), 0, 1)
    kept: dict[str, list[np.ndarray]] = {"values": [], "valid": [], "day": []}
    for index, rows, cols in places(np.random.default_rng(seed), len(usable), *valid.shape[1:]):
        mask = valid[index, rows, cols]
        if mask[PLACES // 2, SIDE // 2, SIDE // 2] and day[index[-1]] - day[index[0]] < SPAN_DAYS:
            sample = values[index, rows, cols]
            mean = sample[mask].mean(0)
            kept["values"].append(np.where(mask[..., None], sample, mean).transpose(0, 3, 1, 2))
            kept["valid"].append(mask)
            kept["day"].append(day[index])
    with h5py.File(path, "w") as file:
        for name, arrays in kept.items():
            file.create_dataset(name, data=np.stack(arrays))
    return len(kept["day"])


def read_published(path: Path, *, steps: int, repeats: int, seed: int = 0) -> Result:
    """Samples per second: shuffled, one read each, stacked to batches.

    In a plain loop with the data sets opened once: HDF5 reads under one lock, and Grain's threads halve the rate.
    """
    with h5py.File(path, "r") as file:
        fields = {name: file[name] for name in file}
        size = sum(field.dtype.itemsize * int(np.prod(field.shape[1:])) for field in fields.values())
        rng, count = np.random.default_rng(seed), len(fields["day"])

        def read() -> dict[str, np.ndarray]:
            chosen = rng.integers(0, count, BATCH)
            return {name: np.stack([field[i] for i in chosen]) for name, field in fields.items()}

        read()
        seconds = best_seconds(read, lambda: None, 8 * steps, repeats)
    return {"samples_per_second": 8 * steps * BATCH / seconds, "bytes_per_sample": size}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
