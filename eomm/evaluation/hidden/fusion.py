"""What another sensor brings to hidden targets: skill by how much of it is missing, how old it is, and the gap.

Every case is scored on the same target pixels, from the fused embedding: decoded, and read by a linear probe.
Baselines that learn nothing are those of reconstruction.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from eomm.data.cube import Cube, open_cube
from eomm.data.modality import check_contract
from eomm.errors import DataError, UsageError
from eomm.evaluation.hidden.fusion_figure import fusion_figure
from eomm.evaluation.hidden.fusion_words import conclude, tables
from eomm.evaluation.hidden.scorer import Case, Scorer, Wanted
from eomm.evaluation.hidden.task import Plan, make_task, with_records
from eomm.evaluation.result import Figure, Result
from eomm.models.directory import Model, load_model, reference_of
from eomm.models.predict import Predictor

GAP, SHARES, AGES = 30, (0.0, 0.25, 0.5, 0.75, 1.0), (0, 3, 6, 12, 24)
READOUTS = {
    "decoded": "the frozen or tuned decoder of the hidden modality, from the fused embedding",
    "probe": "ridge regression from the fused embedding, fitted on training dates under the same case",
}
METHOD_OF = {"decoded": "fused", "probe": "ridge_fused"}  # what the scorer calls them
Curves = Mapping[str, Sequence[tuple[float, Case]]]


@dataclass(frozen=True, kw_only=True)
class FusionPlan(Plan):
    """What is hidden (`task.Plan`; its gaps are those with and without the other modality), and what goes missing.

    Attributes:
        gap: days of the reference hidden on both sides of the target while the other modality's share or age varies.
        shares: of the other modality's acquisitions, dropped at random by `seed`; one draw, larger ones hold smaller.
        ages: days; everything of the other modality less than so far from the target is removed.
        other: modality that goes missing; further ones stay.
    """

    gap: int = GAP
    shares: Sequence[float] = SHARES
    ages: Sequence[int] = AGES
    other: str = "s1"

    def __post_init__(self) -> None:
        if not all(0 <= s <= 1 for s in self.shares) or min((self.gap, *self.ages, *self.gaps)) < 0:
            raise UsageError(
                f"shares are {list(self.shares)}, expected 0 to 1; gap {self.gap}, ages {list(self.ages)}, gaps "
                f"{list(self.gaps)} days, expected 0 or more"
            )

    @property
    def curves(self) -> Curves:
        """The cases of each curve with their place on its axis."""
        return {
            "share": [(s, Case(gap_days=self.gap, share=float(s))) for s in sorted(set(self.shares))],
            "age": [(a, Case(gap_days=self.gap, age_days=a)) for a in sorted(set(self.ages))],
            "gap": [(g, Case(gap_days=g)) for g in sorted(set(self.gaps))],
        }


def evaluate_fusion(
    models: Mapping[str, Model],
    cube: Cube,
    *,
    manifest: Mapping[str, Any] | None = None,
    progress: bool = False,
    **options: Any,
) -> Result:
    """Score fused embeddings of hidden targets with more and less of another modality, paired on the same targets.

    Test dates are hidden as in `reconstruction.evaluate`. The probe of a case is fitted under that case, so that it
    tells what the embedding holds and not how well a probe bears a change of its input.

    Args:
        models: by the name they have in the result; each with a fusion head over the reference and the other modality.
        cube: an opened cube under the models' contracts.
        manifest: of the records trained on, to tell whether the dates were unseen.
        progress: show a bar on standard error.
        options: of `FusionPlan`.

    Returns:
        Its numbers are `curves` {region: {curve: [point]}}. A point has `at`, its place on the axis, and for each
        model the share of targets with the other modality `there`, its mean `days_away`, and for each of READOUTS the
        `error`, that `without` the other modality, the `gain` (without minus with) and the difference `to_first`
        model. Errors are absolute, in the modality's `error_unit`, each with its interval over dates.

    Raises:
        UsageError: a model that does not fuse these modalities; dates that the cube does not have.
        ContractError: cube and model follow different contracts.
        DataError: no target pixel can be scored, or none fits a probe.
    """
    plan = FusionPlan(**options)
    cases = dict.fromkeys(c for points in plan.curves.values() for _, case in points for c in (case, case.without))
    reference = reference_of(next(iter(models.values())), plan.reference)
    for name, model in models.items():
        check_model(name, model, cube, reference, plan.other)
    task = make_task(plan, cube, reference, manifest=manifest, gaps=[c.gap_days for c in cases])
    options = {"simple": False, "decoded": False, "other": plan.other, "paired": True, "seed": plan.seed}
    wanted = Wanted(cases=tuple(cases), inputs=("fused",), **options)
    scorers = {n: Scorer(Predictor(m, reference), task, wanted) for n, m in models.items()}
    with tqdm(total=len(models) * task.work, desc="evaluate fusion", unit="block", disable=not progress) as bar:
        for scorer in scorers.values():
            scorer.run(tick=lambda: bar.update(1))
    if not any(scorer.counted for scorer in scorers.values()):
        raise DataError(f"{cube.path}: no pixel of the test dates is valid and seen at another date")
    numbers = {**task.facts, **_numbers(plan, models, scorers)}
    simulated = cube.simulated
    figure = Figure(
        name="fusion",
        title="What another sensor brings",
        caption="Errors above, what the other sensor brings below, by readout; bars: 95 % intervals over dates.",
        draw=partial(fusion_figure, numbers, simulated=simulated),
    )
    return Result(
        kind="fusion",
        dataset=cube.site,
        simulated=simulated,
        conclusions=conclude(numbers),
        tables=tables(numbers),
        figures=(figure,),
        protocol={"test dates": ", ".join(numbers["dates"]), **READOUTS},
        numbers=numbers,
    )


def evaluate_fusion_records(
    models: Mapping[str, Path],
    cube: Path | str,
    records: Path | str | None,
    *,
    code: Sequence[str] = (),
    progress: bool = False,
    **options: Any,
) -> Result:
    """`evaluate_fusion` on what a record set kept from training, or without one on every third clear date."""
    opened, loaded = open_cube(cube), {name: load_model(path, code=code) for name, path in models.items()}
    reference = reference_of(next(iter(loaded.values())), options.get("reference"))
    return evaluate_fusion(loaded, opened, progress=progress, **with_records(opened, reference, records, options))


def check_model(name: str, model: Model, cube: Cube, reference: str, other: str) -> None:
    """Raise UsageError unless the model fuses both modalities, ContractError unless the cube holds what it expects."""
    if not model.fusion or other == reference or not {reference, other} <= set(model.encoders):
        fuses = " and ".join(sorted(model.encoders)) if model.fusion else "nothing"
        raise UsageError(f"model {name}: fuses {fuses}; expected a model that fuses {reference} and another, {other}")
    for modality in model.modalities.values():
        check_contract(cube[modality.name].modality, modality, found_in=str(cube.path), expected_by=f"model {name}")


def _numbers(plan: FusionPlan, models: Mapping[str, Model], scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    def curves(region: str) -> dict[str, Any]:
        return {kind: [_point(at, c, region, scorers) for at, c in of] for kind, of in plan.curves.items()}

    return {
        "other": plan.other,
        "models": {n: _about(m) for n, m in models.items()},
        "readouts": READOUTS,
        "gap": plan.gap,
        "seed": plan.seed,
        "curves": {region: curves(region) for region in next(iter(scorers.values())).task.names},
    }


def _about(model: Model) -> Mapping[str, Any]:
    assert model.fusion is not None
    known = {k: model.info.get(k) for k in ("finetuned", "steps", "simulated")}
    return {"hash": model.hash, "dim": model.dim, "max_offset_days": model.fusion.max_offset_days, **known}


def _point(at: float, case: Case, region: str, scorers: Mapping[str, Scorer]) -> Mapping[str, Any]:
    first = next(iter(scorers.values())).tally  # one resampling of dates for everything, so that differences are paired
    models = {}
    for name, scorer in scorers.items():
        models[name] = dict[str, Any](scorer.there(region, case))
        for readout, method in METHOD_OF.items():
            own, without = (scorer.tally.per_date(region, c, method) for c in (case, case.without))
            models[name][readout] = {
                "error": first.estimate(own),
                "without": first.estimate(without),
                "gain": first.difference(without, own, better="higher"),
                "to_first": first.difference(own, first.per_date(region, case, method)),
            }
    return {"at": at, "gap_days": case.gap_days, "models": models}


def name_models(paths: Sequence[Path]) -> dict[str, Path]:
    """Short names: of `runs/a/model` the run's, `a`; the whole path where two would be the same."""
    short = [p.resolve().parent.name if p.name == "model" else p.name for p in paths]
    return dict(zip(short if len(set(short)) == len(short) else map(str, paths), paths, strict=True))
