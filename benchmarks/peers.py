"""How many vectors per second do other models of pixels' time series give on these cores, by their authors' own code?

    git clone https://github.com/nasaharvest/presto    (--help names the other repositories)
    pip install 'eomm[torch]' einops
    python -m eomm.benchmarks.peers --presto presto --galileo galileo --tessera tessera --json    (3 minutes on 2 cores)

Only encoders are timed: neither reading nor writing, which the rates of `eomm bench embed` include. Parameters are
random and inputs noise, which speed does not depend on; sizes are those that a checkout configures. One vector stands
for a pixel and a year.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from eomm.errors import UsageError

from .common import Result, machine, matmul_flops, show

BATCHES = (16, 64, 256, 1024, 4096)  # pixels
LONG = 4.0  # seconds; a larger batch than one that takes so long is not tried
MONTHS = 12
MONTHLY = f"{MONTHS} months of Sentinel-1, Sentinel-2, NDVI, ERA5; SRTM; place"
KNOWN = ("ERA5", "SRTM", "location")  # groups of Galileo's beside the two sensors that Presto has too
# Of a pixel of the simulated site of benchmarks/embed.py in a year: 31 of 40 Sentinel-2 acquisitions clear, 122 of
# Sentinel-1. TESSERA from 1.1 on takes all of them, padded to the next multiple of 8.
SEEN_S2, SEEN_S1 = 32, 128


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A model to be timed.

    Attributes:
        model: a torch module.
        inputs: for so many pixels, its arguments.
        seen: what a vector is made of, in words.
        numbers: length of a vector.
        stored_bytes: of a vector, as its authors publish or write it.
    """

    model: Any
    inputs: Callable[[int], Mapping[str, Any]]
    seen: str
    numbers: int
    stored_bytes: int


def run(*, checkouts: Mapping[str, Path], repeats: int) -> Result:
    """Rates of the peers whose checkouts are given.

    Args:
        checkouts: by name of PEERS.
        repeats: measure so often and give the best.

    Raises:
        UsageError: none is given, one is no checkout of the peer, or torch or einops is not installed.
    """
    if not checkouts:
        raise UsageError(f"no peer is named: give checkouts by {', '.join(f'--{name} DIR' for name in PEERS)}")
    torch = torch_module()
    cores = machine()["cores"]
    torch.set_num_threads(cores)
    peers: dict[str, Peer] = {}
    for name, folder in checkouts.items():
        peers |= PEERS[name][1](folder)
    peak = matmul_flops("float32")
    return {
        **{name: measure(torch, peer, repeats) for name, peer in peers.items()},
        "matmul_gflop_per_second": peak / 1e9,
        "torch": torch.__version__,
        "repeats": repeats,
        **machine(),
    }


def find_presto(folder: Path) -> dict[str, Peer]:
    """Presto (arXiv 2304.14065) at its default size: 12 months of all sensors, without land cover, as in its demo."""
    torch, code = torch_module(), load(folder, "single_file_presto")
    config = json.loads((folder / "config" / "default.json").read_text())
    bands = sum(len(at) for at in code.BANDS_GROUPS_IDX.values())

    def inputs(pixels: int) -> dict[str, Any]:
        missing = torch.full((pixels, MONTHS), code.NUM_DYNAMIC_WORLD_CLASSES)
        return {"x": torch.rand(pixels, MONTHS, bands), "dynamic_world": missing, "latlons": torch.rand(pixels, 2)}

    encoder = code.Presto.construct(**config).encoder
    size = config["encoder_embedding_size"]
    return {"presto": Peer(model=encoder, inputs=inputs, seen=MONTHLY, numbers=size, stored_bytes=4 * size)}


def find_galileo(folder: Path) -> dict[str, Peer]:
    """Galileo (arXiv 2502.09356), nano, on single pixels: 12 months of what Presto takes here, all else masked."""
    torch, code = torch_module(), load(folder, "single_file_galileo")
    size = json.loads((folder / "config" / "models" / "nano.json").read_text())["model"]["encoder"]

    def inputs(pixels: int) -> dict[str, Any]:
        found: dict[str, Any] = {"patch_size": 1, "months": torch.arange(MONTHS).expand(pixels, MONTHS)}
        for name, bands, groups, axes in (
            ("s_t", code.SPACE_TIME_BANDS, code.SPACE_TIME_BANDS_GROUPS_IDX, (1, 1, MONTHS)),
            ("sp", code.SPACE_BANDS, code.SPACE_BAND_GROUPS_IDX, (1, 1)),
            ("t", code.TIME_BANDS, code.TIME_BAND_GROUPS_IDX, (MONTHS,)),
            ("st", code.STATIC_BANDS, code.STATIC_BAND_GROUPS_IDX, ()),
        ):
            masked = torch.tensor([float(name != "s_t" and group not in KNOWN) for group in groups])
            found[f"{name}_x"] = torch.rand(pixels, *axes, len(bands))
            found[f"{name}_m"] = masked.expand(pixels, *axes, len(groups))
        return found

    encoder, numbers = code.Encoder(**size), size["embedding_size"]
    return {"galileo nano": Peer(model=encoder, inputs=inputs, seen=MONTHLY, numbers=numbers, stored_bytes=4 * numbers)}


def find_tessera(folder: Path) -> dict[str, Peer]:
    """TESSERA (arXiv 2506.20380): 1.0 and 1.1 as their inference configures them, 2's student at its default, small."""
    settings = dict(load(folder / "tessera_infer" / "configs", "ssl_config").config)
    # The projector of training, 16,384 wide, is built and dropped: here it is built small.
    small = settings | {"projector_hidden_dim": 1, "projector_out_dim": 1}
    models = folder / "tessera_infer" / "src" / "models"
    whole = load(models, "builder").build_ssl_model(small, "cpu")
    first = load(models, "ssl_model").MultimodalBTInferenceModel(
        whole.s2_backbone, whole.s1_backbone, settings["fusion_method"], whole.dim_reducer
    )
    quantised = folder / "tessera_infer_QAT"
    config = load(quantised / "configs", "v1_1_infer_config").config
    second = load(quantised / "src" / "models", "ssl_model_v1_1").build_v1_1_inference_model(config, "cpu")
    student = load(folder / "tessera_infer_v2" / "student", "model").PixelStudent()
    drawn = settings["sample_size_s2"], settings["sample_size_s1"]
    return {
        "tessera 1.0": series_peer(first, *drawn, numbers=settings["latent_dim"]),
        "tessera 1.1": series_peer(second, SEEN_S2, SEEN_S1, numbers=config["save_embedding_dim"]),
        "tessera 2 small": series_peer(student, SEEN_S2, SEEN_S1, numbers=student.repr_dim),
    }


def series_peer(model: Any, s2: int, s1: int, *, numbers: int) -> Peer:
    """A model of so many acquisitions: ten and two bands, and a day of the year each. Stored as int8 and a scale."""
    torch = torch_module()

    def inputs(pixels: int) -> dict[str, Any]:
        return {"s2_x": torch.rand(pixels, s2, 11), "s1_x": torch.rand(pixels, s1, 3)}

    seen = f"{s2} acquisitions of Sentinel-2, {s1} of Sentinel-1"
    return Peer(model=model, inputs=inputs, seen=seen, numbers=numbers, stored_bytes=numbers + 4)


PEERS: dict[str, tuple[str, Callable[[Path], dict[str, Peer]]]] = {
    "presto": ("nasaharvest/presto", find_presto),
    "galileo": ("nasaharvest/galileo", find_galileo),
    "tessera": ("ucam-eo/tessera", find_tessera),
}


def measure(torch: Any, peer: Peer, repeats: int) -> Result:
    """Rate of a peer by the best of BATCHES, and what a vector costs."""
    model, rows = peer.model.eval(), []
    with torch.inference_mode():
        flop = count_flop(torch, model, peer.inputs(1))
        for batch in BATCHES:
            inputs = peer.inputs(batch)
            model(**inputs)
            rows.append({"batch": batch, **least(partial(model, **inputs), repeats)})
            if rows[-1]["seconds"] > LONG:
                break
    parameters = sum(p.numel() for p in model.parameters())
    about = {"seen": peer.seen, "numbers": peer.numbers, "stored_bytes": peer.stored_bytes, "parameters": parameters}
    return about | summary(rows, flop)


def least(act: Callable[[], object], repeats: int) -> dict[str, float]:
    """Seconds by the clock and of the processor that an act takes, the least of several each."""
    found = []
    for _ in range(repeats):
        clock, processor = time.perf_counter(), time.process_time()
        act()
        found.append((time.perf_counter() - clock, time.process_time() - processor))
    return {"seconds": min(f[0] for f in found), "cpu_seconds": min(f[1] for f in found)}


def summary(rows: Sequence[Mapping[str, float]], flop: float) -> Result:
    """Of the batch that gives most vectors per second, and of the one that gives most for its processor time.

    Args:
        rows: of every batch its pixels (`batch`), `seconds` and `cpu_seconds`.
        flop: operations of one vector.
    """
    best = max(rows, key=lambda r: r["batch"] / r["seconds"])
    rate = best["batch"] / best["seconds"]
    return {
        "vectors_per_second": rate,
        "vectors_per_cpu_second": max(r["batch"] / r["cpu_seconds"] for r in rows),
        "batch": best["batch"],
        "mflop_per_vector": flop / 1e6,
        "gflop_per_second": rate * flop / 1e9,
    }


def count_flop(torch: Any, model: Any, inputs: Mapping[str, Any]) -> int:
    """Operations of the products of one pixel, a multiply-add counted as two, attention's included."""
    counter = importlib.import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
    attention = importlib.import_module("torch.nn.attention")
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation that the counter does not know
    try:
        with counter, attention.sdpa_kernel(attention.SDPBackend.MATH):
            model(**inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


# --- What is not a part of eomm -------------------------------------------------------------------------------------


def torch_module() -> Any:
    """PyTorch. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as e:
        raise UsageError("peers run by PyTorch, which is not installed; pip install 'eomm[torch]' einops") from e


def load(folder: Path, name: str) -> ModuleType:
    """A module of a checkout, which may import its neighbours in the folder relatively.

    Raises:
        UsageError: it is not there, or needs a package that is not installed.
    """
    path = folder / f"{name}.py"
    if not path.is_file():
        raise UsageError(f"{path} does not exist; expected in a checkout of the peer: --help names the repositories")
    package = "peer_" + "".join(c if c.isalnum() else "_" for c in str(folder.resolve()))
    if package not in sys.modules:
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]  # no __init__ of theirs, which may import more than is needed
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as e:
        raise UsageError(f"{path} needs {e.name}, which is not installed; pip install {e.name}") from e


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, (repository, _) in PEERS.items():
        parser.add_argument(f"--{name}", type=Path, help=f"checkout of github.com/{repository}")
    parser.add_argument("--repeats", type=int, default=2, help="measure so often and give the best")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    a = parser.parse_args(argv)
    with redirect_stdout(sys.stderr):
        result = run(checkouts={n: getattr(a, n) for n in PEERS if getattr(a, n)}, repeats=a.repeats)
    show(result, as_json=a.json)


if __name__ == "__main__":
    main()
