"""A model as one self-contained file that JAX alone can run: StableHLO with symbolic sizes (`jax.export`).

It embeds one block: no reading, no blocks, no dates chosen. `eomm.embed` does all that, and is faster on a CPU.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jaxtyping import Array, Int32

from eomm.errors import UsageError
from eomm.models import forward
from eomm.models.directory import Model, load_model, reference_of
from eomm.store.fields import Json
from eomm.store.folders import check_apart, new_directory, write_json

PLATFORMS = ("cpu", "cuda", "tpu")
FILE = "model.stablehlo"
META = {"day": np.int32, "orbit": np.int32, "direction": np.int8, "incidence": np.float32}
MEANING = {
    "values": "as the contract stores them: physical = int16 * scale + offset of the band; 0 where not valid",
    "valid": "every band is valid; false beyond the cube",
    "day": "days since 1970-01-01, ascending; usable acquisitions only",
    "orbit": "a number per relative orbit of the site, 0 unknown",
    "direction": "1 ascending, -1 descending, 0 unknown",
    "incidence": "degrees at mid-scene, 0 unknown",
}


def export_model(
    model: Model | Path | str,
    out: Path | str,
    *,
    sizes: Mapping[str, int] | None = None,
    site_wide: Sequence[str] = (),
    overwrite: bool = False,
    code: Sequence[str] = (),
) -> Json:
    """Write a folder with the model as StableHLO, its contract as JSON, and a README with the lines that call it.

    The parameters are inside. Sizes are symbols: `y`, `x` of the block, `n` targets, `<modality>_t` acquisitions.

    Args:
        model: a model or its directory.
        out: a folder to make.
        sizes: fixes some of the symbols, for networks that cannot do without, such as the published one.
        site_wide: modalities of a single pixel that serves the whole block.
        overwrite: replace an earlier one.
        code: see `eomm.models.directory.load_model`.

    Returns:
        The contract, as in `contract.json`.

    Raises:
        UsageError: `out` exists, an argument is wrong, or a network cannot be exported with these sizes.
    """
    check_apart(out, {"the model": None if isinstance(model, Model) else model})
    model = load_model(model, code=code)
    unknown = [n for n in site_wide if n not in model.encoders]
    if unknown or reference_of(model, None) in site_wide:
        raise UsageError(f"site_wide {', '.join(site_wide)}: the model has {', '.join(model.encoders)}")
    if model.fusion is None and len(model.encoders) > 1:
        raise UsageError(f"the model has encoders for {', '.join(model.encoders)} and no fusion head: no embedding")
    inputs, targets = specifications(model, dict(sizes or {}), site_wide)

    def block(inputs: dict[str, dict[str, Array]], targets: Int32[Array, " n"]) -> dict[str, Array]:
        return embed_block(model, inputs, targets)

    with new_directory(out, kind="portable model", overwrite=overwrite) as partial:
        try:
            exported = jax_export.export(jax.jit(block), platforms=PLATFORMS)(inputs, targets)
        except (TypeError, ValueError, IndexError, NotImplementedError, ArithmeticError) as e:
            raise UsageError(
                f"model {model.hash} cannot be exported with these sizes ({str(e)[:300]}); fix some, such as "
                "--size y=64 --size x=64 --size n=8, and <modality>_t"
            ) from e
        contract = describe(model, inputs, exported, site_wide)
        (partial / FILE).write_bytes(exported.serialize())
        write_json(partial / "contract.json", contract)
        write_json(partial / "manifest.json", {"eomm:kind": "portable model", "model": model.hash})
        (partial / "README.md").write_text(readme(model, inputs, contract, targets.shape[0]), encoding="utf-8")
    return {"out": str(out), **contract}


def specifications(
    model: Model, sizes: dict[str, int], site_wide: Sequence[str]
) -> tuple[dict[str, dict[str, jax.ShapeDtypeStruct]], jax.ShapeDtypeStruct]:
    """Shapes and dtypes of what `embed_block` takes. Raises UsageError for a size that is no symbol."""
    symbols = ["y", "x", "n", *(f"{name}_t" for name in model.encoders)]
    if set(sizes) - set(symbols) or any(size < 1 for size in sizes.values()):
        raise UsageError(f"sizes {sizes}: expected numbers from 1 for some of {', '.join(symbols)}")
    scope = jax_export.SymbolicScope([f"{s} >= 1" for s in symbols if s not in sizes])

    def shape(*dims: str | int) -> tuple[Any, ...]:
        return tuple(jax_export.symbolic_shape(", ".join(map(str, dims)), scope=scope))

    def size(symbol: str, more: int = 0) -> str | int:
        return sizes[symbol] + more if symbol in sizes else f"{symbol} + {more}" if more else symbol

    inputs = {}
    for name, encoder in model.encoders.items():
        time, around = size(f"{name}_t"), 2 * encoder.halo
        area = (1 + around,) * 2 if name in site_wide else (size("y", around), size("x", around))
        bands = len(model.modalities[name].bands)
        inputs[name] = {
            "values": jax.ShapeDtypeStruct(shape(time, *area, bands), np.int16),
            "valid": jax.ShapeDtypeStruct(shape(time, *area), np.bool_),
            **{k: jax.ShapeDtypeStruct(shape(time), dtype) for k, dtype in META.items()},
        }
    return inputs, jax.ShapeDtypeStruct(shape(size("n")), np.int32)


def embed_block(
    model: Model, inputs: Mapping[str, Mapping[str, Array]], targets: Int32[Array, " n"]
) -> dict[str, Array]:
    """Embeddings of some acquisitions of the reference on one block, as `eomm.embed` makes them.

    Args:
        model: the model.
        inputs: of every modality `values` [t, y + 2 halo, x + 2 halo, band] and so on (`MEANING`).
        targets: indices of acquisitions of the reference.

    Returns:
        `embedding` [n, y, x, d], from their context alone where the target is not valid, and `valid` [n, y, x].
    """
    reference, at = reference_of(model, None), targets[None]
    data = {name: {k: x[None] for k, x in own.items()} for name, own in inputs.items()}

    def encode(name: str, at: Array) -> tuple[Array, Array]:
        return forward.encode(model.encoders[name], model.params[name]["encoder"], data[name], at)

    embedding, inside = encode(reference, at)
    valid = inside[0][targets]
    if model.fusion is None:
        return {"embedding": embedding[0], "valid": valid}
    parts, target_day = {reference: forward.lead(embedding)}, data[reference]["day"][:, targets]
    for name in (n for n in model.encoders if n != reference):
        day, reach = data[name]["day"], forward.reach(model.modalities[name], model.fusion)
        pairs = forward.pair(target_day, day, jnp.ones(day.shape, bool), reach)
        parts[name] = forward.follow(*encode(name, pairs.at), pairs)
    return {"embedding": forward.fuse(model.fusion, model.params["fusion"], parts)[0], "valid": valid}


def describe(model: Model, inputs: Mapping[str, Any], exported: Any, site_wide: Sequence[str]) -> Json:
    """The contract of the exported file, as plain JSON types."""
    shapes = {
        name: {
            k: {"dtype": str(s.dtype), "shape": [str(d) for d in s.shape], "meaning": MEANING[k]}
            for k, s in own.items()
        }
        for name, own in inputs.items()
    }
    return {
        "file": FILE,
        "model": model.hash,
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "jax": jax.__version__,
        "reference": reference_of(model, None),
        "length": model.dim,
        "max_offset_days": model.fusion.max_offset_days if model.fusion else None,
        "halo_px": {name: encoder.halo for name, encoder in model.encoders.items()},
        "frames": {name: list(encoder.frames) for name, encoder in model.encoders.items()},
        "site_wide": list(site_wide),
        "contracts": {name: modality.to_dict() for name, modality in model.modalities.items()},
        "inputs": {**shapes, "targets": {"dtype": "int32", "meaning": "indices into the reference's acquisitions"}},
        "outputs": {
            "embedding": "float32 [n, y, x, length]; from its context alone where not valid",
            "valid": "bool [n, y, x]",
        },
    }


README = """# Model {hash}

An eomm model as StableHLO: it needs `pip install jax flatbuffers` and nothing else, on CPU, CUDA or TPU.

```python
import pathlib

import jax.export
import numpy as np

model = jax.export.deserialize(bytearray(pathlib.Path("{file}").read_bytes()))
{example}
out = model.call(inputs, np.array([{targets}], np.int32))
print(out["embedding"].shape, out["valid"].shape)  # [n, y, x, {length}], [n, y, x]
```

`inputs` holds all usable acquisitions of a block of pixels, in order of time, with {halo} pixels more on every side;
beyond the cube nothing is valid. A vector is made of its window: {frames}. The targets are acquisitions of
{reference}{others}. Values are stored integers: `contract.json` says which bands, in which units and calibration, and
with which scale; other data give wrong vectors without a message. Where `valid` is false the pixel was clouded and the
vector comes from its context alone.

Exported with jax {jax}; jax reads such files for at least six months of later versions.
"""


def readme(model: Model, inputs: Mapping[str, Any], contract: Mapping[str, Any], count: Any) -> str:
    """How to load and call the file, with an example that runs; `count` targets."""
    lines = ["y, x, t = 64, 64, 12", "inputs = {"]
    for name, own in inputs.items():
        fields = [f'        "{key}": {_example(name, key, spec)},' for key, spec in own.items()]
        lines += [f'    "{name}": {{', *fields, "    },"]
    lines.append("}")
    others = [n for n in model.encoders if n != contract["reference"]]
    nearest = f"; of {', '.join(others)} the nearest acquisition is used, up to {contract['max_offset_days']} days away"
    if any("static" in c for c in contract["contracts"].values()):
        nearest += " (static layers: whatever the day)"
    return README.format(
        hash=model.hash,
        file=FILE,
        example="\n".join(lines),
        targets=", ".join(map(str, range(count if isinstance(count, int) else 2))),
        length=model.dim,
        halo=" or ".join(sorted({str(h) for h in contract["halo_px"].values()})),
        frames="; ".join(f"{a} acquisitions before and {b} after ({n})" for n, (a, b) in contract["frames"].items()),
        reference=contract["reference"],
        others=nearest if others else "",
        jax=jax.__version__,
    )


def _example(name: str, key: str, spec: jax.ShapeDtypeStruct) -> str:
    """Code that makes an input of the right shape and dtype."""
    dims = ", ".join(str(d).replace(f"{name}_t", "t") for d in spec.shape)
    if key == "day":
        return f"np.arange(18000, 18000 + 5 * {dims}, 5, dtype=np.int32)"
    comma = "," if len(spec.shape) == 1 else ""
    return f"np.zeros(({dims}{comma}), np.{'bool_' if spec.dtype == bool else spec.dtype})"
