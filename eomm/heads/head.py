"""A head: a function from one embedding to a number or a class, saved as JSON and plain arrays.

Not how it is fitted.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

from eomm.errors import DataError
from eomm.heads.interval import Interval
from eomm.heads.linear import Linear
from eomm.heads.samples import check_alike, contract_of
from eomm.heads.seen import Seen
from eomm.heads.trees import Trees
from eomm.page.shown import Shown
from eomm.store.descriptions import AGAIN, read_described
from eomm.store.digest import digest
from eomm.store.fields import Json
from eomm.store.folders import check_store, entered, new_directory, write_json

VERSION = 1
FORMS: Mapping[str, type[Linear] | type[Trees]] = {"ridge": Linear, "logistic": Linear, "boosting": Trees}
NONE = -1  # class of a pixel that has none


@dataclass(frozen=True)
class Prediction:
    """What a head says of some vectors.

    Attributes:
        layers: by name, [row]: of numbers `prediction`, `low` and `high`; of classes `prediction` (NONE for none),
            `probability` (of that class) and `set_size` (classes that the interval cannot tell apart); of both
            `distance`. Floats are NaN where there is no vector, all but `distance` also where it is outside.
        outside: farther than the head's limit.
    """

    layers: dict[str, np.ndarray]
    outside: Bool[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Head(Shown):
    """A fitted head.

    Attributes:
        form: of FORMS.
        target: what it predicts.
        unit: of numbers.
        classes: names; empty for numbers.
        estimator: outputs of vectors.
        seen: where its vectors lay.
        interval: how far off it is.
        contract: of the vectors: model, length, modalities, composite, simulated.
        fitted: on what; JSON types.
        scores: while groups were held out; JSON types.
    """

    form: str
    target: str
    unit: str
    classes: tuple[str, ...]
    estimator: Linear | Trees
    seen: Seen
    interval: Interval
    contract: Mapping[str, Any]
    fitted: Mapping[str, Any]
    scores: Mapping[str, Any]

    @property
    def length(self) -> int:
        """Leading numbers of a vector that it uses."""
        return int(self.contract["length"])

    @property
    def hash(self) -> str:
        """16 hex digits that stand for all that changes what it predicts."""
        known = {k: v for k, v in self.describe().items() if k not in ("fitted", "scores")}
        return digest(known, sorted(self.arrays().items()))

    @property
    def note(self) -> str:
        """What its maps are, in a sentence."""
        if self.fitted["on"] == "labels":
            return f"{self.form} on single pixels"
        how = f"fitted on means over {self.fitted['extract']} round towers"
        if self.form == "ridge":
            return f"linear, {how}: the mean of a map over such an area is what was fitted"
        return f"{self.form}, {how}: of a single pixel it was never tested, and it is not linear"

    @property
    def worth(self) -> str:
        """What a head of fluxes is worth beside what learns nothing, in a sentence; empty for one of labels."""
        if "head" not in self.scores:
            return ""
        errors = {name: found["rmse"]["value"] for name, found in self.scores.items()}
        ours, held_out = errors.pop("head"), self.fitted["held_out"]
        best = min(errors, key=errors.__getitem__)
        told = f"RMSE {ours:.3g} on what was held out ({held_out}), {best} {errors[best]:.3g}"
        if ours >= errors[best]:
            return f"{told}: no better than what learns nothing, do not rest on it"
        few = self.scores["head"]["rmse"]["interval"] is None
        return f"{told}: of so few groups it cannot be told whether that is chance" if few else told

    @property
    def interval_words(self) -> str:
        """How sure its predictions are, in a sentence."""
        return self.interval.words(self.fitted["held_out"], None if self.classes else self.unit)

    def check(self, path: Path | str) -> None:
        """Raise ContractError where the vectors of a store are not those that the head was fitted on."""
        check_alike(path, contract_of(path), self.contract, f"the head of {self.target}")

    def predict(self, x: Float32[np.ndarray, "n k"], present: Bool[np.ndarray, " n"] | None = None) -> Prediction:
        """Of vectors; their numbers beyond `length` are not used.

        Args:
            x: vectors.
            present: where there is one; everywhere when None.
        """
        x = x[:, : self.length]
        present = np.ones(len(x), bool) if present is None else present
        distance = np.full(len(x), np.nan, np.float32)
        distance[present] = self.seen.distance(x[present])
        outside = present & (distance > self.seen.limit)
        kept = present & ~outside
        outputs = self.estimator.outputs(x[kept])
        found = class_layers(outputs, self.interval) if self.classes else number_layers(outputs, self.interval)
        layers = {name: spread(part, kept) for name, part in found.items()}
        return Prediction({**layers, "distance": distance}, outside)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `arrays.safetensors` holds."""
        parts = {"estimator": self.estimator, "seen": self.seen}
        return {f"{n}/{k}": np.ascontiguousarray(v) for n, part in parts.items() for k, v in part.arrays().items()}

    def describe(self) -> Json:
        """What `head.json` holds, but its hash."""
        names = ("form", "target", "unit", "contract", "fitted", "scores")
        known = {n: getattr(self, n) for n in names}
        known |= {"classes": list(self.classes), "interval": dataclasses.asdict(self.interval)}
        return {"version": VERSION, **known}

    def facts(self) -> Mapping[str, object]:
        """As of `Shown`."""
        return {
            "head": self.hash,
            "target": f"{self.target} in {self.unit}" if self.unit else self.target,
            **({"classes": ", ".join(self.classes[:10])} if self.classes else {}),
            "form": self.form,
            "model": self.contract["model"],
            "interval": f"{self.interval.level:.0%}, held for {self.interval.coverage:.0%}",
        }


def number_layers(outputs: Float[np.ndarray, "n 1"], interval: Interval) -> dict[str, np.ndarray]:
    """The number and its interval."""
    value = outputs[:, 0]
    ends = {"prediction": value, "low": value - interval.score, "high": value + interval.score}
    return {name: end.astype(np.float32) for name, end in ends.items()}


def class_layers(outputs: Float[np.ndarray, "n c"], interval: Interval) -> dict[str, np.ndarray]:
    """The likeliest class, its probability, and how many classes are within the interval."""
    share = softmax(outputs, axis=1)
    return {
        "prediction": np.argmax(share, axis=1).astype(np.int16),
        "probability": share.max(axis=1).astype(np.float32),
        "set_size": (1 - share <= interval.score).sum(axis=1).astype(np.int16),
    }


def spread(part: np.ndarray, kept: Bool[np.ndarray, " n"]) -> np.ndarray:
    """Values of the kept rows among all; NaN, or NONE in integers, elsewhere."""
    out = np.full(len(kept), np.nan if part.dtype.kind == "f" else NONE, part.dtype)
    out[kept] = part
    return out


def save_head(head: Head, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a head, whole or not at all. Raises UsageError when `path` exists."""
    path = entered(path)
    with new_directory(path, kind="head", overwrite=overwrite) as partial:
        save_file(head.arrays(), partial / "arrays.safetensors")
        write_json(partial / "head.json", {"eomm:kind": "head", "hash": head.hash, **head.describe()})
        shutil.copymode(partial / "head.json", partial / "arrays.safetensors")  # which safetensors makes 0600
    return path


def load_head(path: Path | str) -> Head:
    """Read a head.

    Raises:
        DataError: missing, damaged, of a later version, or changed.
    """
    path = entered(path)
    check_store(path, "head.json", "a head, as `eomm fit` writes it")
    about = read_described(path / "head.json")
    if about["version"] != VERSION or about["form"] not in FORMS:
        raise DataError(
            f"{path / 'head.json'}: a head of version {about['version']!r} and form {about['form']!r}; this eomm reads "
            f"version {VERSION} and {', '.join(FORMS)}, update it"
        )
    try:
        arrays = load_file(path / "arrays.safetensors")
        parts: dict[str, dict[str, np.ndarray]] = {"estimator": {}, "seen": {}}
        for name, array in arrays.items():
            part, _, key = name.partition("/")
            parts[part][key] = array
        head = Head(
            **{n: about[n] for n in ("form", "target", "unit", "contract", "fitted", "scores")},
            classes=tuple(about["classes"]),
            estimator=FORMS[about["form"]].of(parts["estimator"]),
            seen=Seen.of(parts["seen"]),
            interval=Interval(**about["interval"]),
        )
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, IndexError) as e:
        raise DataError(f"{path}: cannot be read ({e!r}); {AGAIN}") from e
    if head.hash != about["hash"]:
        raise DataError(f"{path}: content hash {head.hash}, head.json says {about['hash']}; copy the head again")
    return head
