"""What another sensor brings to hidden targets: skill by how much of it is missing, how old it is, and the gap.

Every case is scored on the same target pixels, from the fused embedding: decoded, and read by a linear probe.
Baselines that learn nothing are those of reconstruction.py.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from eomm.data.cube import Cube, open_cube
from eomm.data.grid import to_date
from eomm.data.held_out import dates_unseen, days_to_hide, held_out
from eomm.data.modality import check_contract
from eomm.data.records import open_records
from eomm.errors import DataError, UsageError
from eomm.evaluation.hidden.fusion_scoring import Case, Scored
from eomm.evaluation.hidden.fusion_words import AXES, with_words
from eomm.evaluation.hidden.reconstruction import GAPS
from eomm.evaluation.hidden.scoring import ScoredSite
from eomm.evaluation.hidden.task import make_task
from eomm.models.directory import Model, load_model, reference_of
from eomm.models.predict import Predictor

GAP, SHARES, AGES = 30, (0.0, 0.25, 0.5, 0.75, 1.0), (0, 3, 6, 12, 24)
READOUTS = {
    "decoded": "the frozen or tuned decoder of the hidden modality, from the fused embedding",
    "probe": "ridge regression from the fused embedding, fitted on training dates under the same case",
}


Curves = Mapping[str, Sequence[tuple[float, Case]]]


def make_curves(gap: int, shares: Sequence[float], ages: Sequence[int], gaps: Sequence[int]) -> Curves:
    """The cases of each curve with their place on its axis. Raises UsageError for shares not in 0 to 1, or days < 0."""
    if not all(0 <= s <= 1 for s in shares) or min((gap, *ages, *gaps)) < 0:
        raise UsageError(
            f"shares are {list(shares)}, expected 0 to 1; gap {gap}, ages {list(ages)}, gaps {list(gaps)} days, "
            "expected 0 or more"
        )
    return {
        "share": [(s, Case(gap_days=gap, share=float(s))) for s in sorted(set(shares))],
        "age": [(a, Case(gap_days=gap, age_days=a)) for a in sorted(set(ages))],
        "gap": [(g, Case(gap_days=g)) for g in sorted(set(gaps))],
    }


def evaluate_fusion(
    models: Mapping[str, Model],
    cube: Cube,
    *,
    dates: Sequence[int | str | date] | None = None,
    gap: int = GAP,
    shares: Sequence[float] = SHARES,
    ages: Sequence[int] = AGES,
    gaps: Sequence[int] = GAPS,
    other: str = "s1",
    reference: str | None = None,
    manifest: Mapping[str, Any] | None = None,
    block_px: int = 32,
    max_pixels: int = 16_384,
    fit_dates: int = 24,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Score fused embeddings of hidden targets with more and less of another modality, paired on the same targets.

    Test dates are hidden as in `reconstruction.evaluate`. The probe of a case is fitted under that case, so that it
    tells what the embedding holds and not how well a probe bears a change of its input.

    Args:
        models: by the name they have in the result; each with a fusion head over `reference` and `other`.
        cube: an opened cube under the models' contracts.
        dates: test dates that training has not seen; those that `manifest` holds out when None.
        gap: days of the reference hidden on both sides of the target while the other modality's share or age varies.
        shares: of the other modality's acquisitions, dropped at random by `seed`; one draw, larger ones hold smaller.
        ages: days; everything of the other modality less than so far from the target is removed.
        gaps: days hidden on both sides for the comparison with and without the other modality.
        other: modality that goes missing; further ones stay.
        reference: modality that is hidden; "s2", or the model's only one.
        manifest: of the records trained on, to tell whether the dates were unseen.
        block_px: side of the blocks in which the cube is read.
        max_pixels: larger sites are sampled by blocks, drawn by `seed`.
        fit_dates: training dates that probes are fitted on.
        seed: of samples, intervals and which acquisitions are dropped.
        progress: show a bar on standard error.

    Returns:
        JSON types: protocol and `curves` {region: {curve: [point]}}. A point has `at`, its place on the axis, and
        for each model the share of targets with the other modality `there`, its mean `days_away`, and for each of
        READOUTS the `error`, that `without` the other modality, the `gain` (without minus with) and the difference
        `to_first` model. Errors are absolute, in the modality's `error_unit`, each with its interval over dates.

    Raises:
        UsageError: a model that does not fuse these modalities; dates that the cube does not have.
        ContractError: cube and model follow different contracts.
        DataError: no target pixel can be scored, or none fits a probe.
    """
    curves = make_curves(gap, shares, ages, gaps)
    cases = list(dict.fromkeys(c for points in curves.values() for _, case in points for c in (case, case.without)))
    reference = reference_of(next(iter(models.values())), reference)
    for name, model in models.items():
        check_model(name, model, cube, reference, other)
    group = cube[reference]
    kept_days, columns = held_out(manifest or {}, cube.site, reference)
    task = make_task(group, kept_days if dates is None else dates, [c.gap_days for c in cases], columns)
    size = min(block_px, max(task.height, task.width))
    corners = task.blocks(size, max_pixels, seed=seed)
    scored = {
        name: Scored(ScoredSite(Predictor(model, reference), cube, task, size, seed), other, cases, seed)
        for name, model in models.items()
    }
    work = len(models) * (len(corners) + len(task.fit_blocks(corners, size)))
    with tqdm(total=work, desc="evaluate fusion", unit="block", disable=not progress) as bar:
        for one in scored.values():
            one.run(corners, fit_dates, lambda: bar.update(1))
    if not any(one.counted for one in scored.values()):
        raise DataError(f"{cube.path}: no pixel of the test dates is valid and seen at another date")
    days = [int(d) for d in task.day[task.targets]]
    result: dict[str, Any] = {
        "eomm:kind": "evaluation of fusion",
        "site": cube.site,
        "simulated": bool(cube.provenance.get("simulated", False)),
        "modality": reference,
        "other": other,
        "unit": group.modality.error_unit[0],
        "models": {n: _about(m) for n, m in models.items()},
        "readouts": READOUTS,
        "days": days,
        "dates": [str(to_date(d)) for d in days],
        "dates_unseen": dates_unseen(manifest, cube.site, days, reference),
        "gap": gap,
        "seed": seed,
        "columns": list(columns) if columns else None,
        "pixels_read": min(len(corners) * size**2, task.height * task.width),
        "curves": {
            region: {kind: [_point(at, c, region, scored) for at, c in points] for kind, points in curves.items()}
            for region in ["all"] + (["unseen block"] if columns else [])
        },
    }
    return with_words(result)


def evaluate_fusion_records(
    models: Mapping[str, Path],
    cube: Path | str,
    records: Path | str | None,
    *,
    code: Sequence[str] = (),
    **options: Any,
) -> dict[str, Any]:
    """`evaluate_fusion` on what a record set kept from training, or without one on every third clear date."""
    opened, loaded = open_cube(cube), {name: load_model(path, code=code) for name, path in models.items()}
    manifest = open_records(records).manifest if records else None
    if options.get("dates") is None:
        reference = reference_of(next(iter(loaded.values())), options.get("reference"))
        options["dates"] = days_to_hide(opened, reference, manifest, records)
    return evaluate_fusion(loaded, opened, manifest=manifest, **options)


def check_model(name: str, model: Model, cube: Cube, reference: str, other: str) -> None:
    """Raise UsageError unless the model fuses both modalities, ContractError unless the cube holds what it expects."""
    if not model.fusion or other == reference or not {reference, other} <= set(model.encoders):
        fuses = " and ".join(sorted(model.encoders)) if model.fusion else "nothing"
        raise UsageError(f"model {name}: fuses {fuses}; expected a model that fuses {reference} and another, {other}")
    for modality in model.modalities.values():
        check_contract(cube[modality.name].modality, modality, found_in=str(cube.path), expected_by=f"model {name}")


def _about(model: Model) -> dict[str, Any]:
    assert model.fusion is not None
    known = {k: model.info.get(k) for k in ("finetuned", "steps", "simulated")}
    return {"hash": model.hash, "dim": model.dim, "max_offset_days": model.fusion.max_offset_days, **known}


def _point(at: float, case: Case, region: str, scored: Mapping[str, Scored]) -> dict[str, Any]:
    first = next(iter(scored.values()))
    estimate = first.tally.estimate  # one resampling of dates for everything, so that differences are paired
    models = {}
    for name, one in scored.items():
        models[name] = one.there(region, case) | {
            readout: {
                "error": estimate(one.at(region, case, readout)),
                "without": estimate(one.at(region, case.without, readout)),
                "gain": estimate(one.at(region, case.without, readout) - one.at(region, case, readout)),
                "to_first": estimate(one.at(region, case, readout) - first.at(region, case, readout)),
            }
            for readout in READOUTS
        }
    return {"at": at, "gap_days": case.gap_days, "models": models}


def name_models(paths: Sequence[Path]) -> dict[str, Path]:
    """Short names: of `runs/a/model` the run's, `a`; the whole path where two would be the same."""
    short = [p.resolve().parent.name if p.name == "model" else p.name for p in paths]
    return dict(zip(short if len(set(short)) == len(short) else map(str, paths), paths, strict=True))


def format_fusion(result: Mapping[str, Any]) -> str:
    """The result as text for people."""
    seen = {True: "", False: "; TRAINING HAS SEEN THESE DATES", None: "; unknown whether training saw them"}
    first = next(iter(result["models"]))
    lines = [
        ("SIMULATED. " if result["simulated"] else "")
        + f"{result['site']}, {result['modality']}: mean absolute error ({result['unit']}) at {len(result['days'])} "
        f"hidden dates{seen[result['dates_unseen']]}",
        f"gain: error without {result['other']} minus error with it; above 0 it helps [95 % interval over dates]",
    ]
    for region, curves in result["curves"].items():
        for kind, points in curves.items():
            lines += ["", f"{region}; {AXES[kind].format(**result)}"]
            lines.append(
                f"{'':>6} {'model':<12} {'there':>6} {'days':>5}"
                + "".join(f"{readout:>9} {'gain':<27}" for readout in READOUTS)
            )
            lines += [_line(p["at"], n, m) for p in points for n, m in p["models"].items()]
            for name in list(result["models"])[1:]:
                lines.append(f"  {name} minus {first}; below 0 it is better")
                lines += [
                    f"{p['at']:>6g}" + "".join(f"  {r} {_signed(p['models'][name][r]['to_first'])}" for r in READOUTS)
                    for p in points
                ]
    return "\n".join(lines)


def _line(at: float, name: str, model: Mapping[str, Any]) -> str:
    away = "-" if model["days_away"] is None else f"{model['days_away']:.1f}"
    there = "-" if model["there"] is None else f"{model['there']:.0%}"
    parts = [f"{_number(model[r]['error']['mean']):>9} {_signed(model[r]['gain']):<27}" for r in READOUTS]
    return f"{at:>6g} {name:<12} {there:>6} {away:>5}" + "".join(parts)


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.4f}"


def _signed(estimate: Mapping[str, Any]) -> str:
    if estimate["mean"] is None:
        return "-"
    low_high = "".join(f"{x:+.4f} " for x in estimate["interval"] or ()).split()
    return f"{estimate['mean']:+.4f} [{', '.join(low_high)}]" if low_high else f"{estimate['mean']:+.4f}"
