"""What the makers state of accelerators: peak, memory, links. Not what a program reaches on them (benchmarks/)."""

from collections.abc import Sequence
from dataclasses import dataclass

GB = 10**9
TFLOPS = 10**12


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device as JAX counts them: a TPU chip, a GPU.

    Attributes:
        name: for people, and for `eomm plan`.
        kinds: the beginnings of JAX's `device_kind`.
        peak: dense bfloat16 operations per second, without sparsity.
        memory: bytes.
        bandwidth: of that memory, bytes per second.
        link: bytes per second that a device sends over its fastest links, one direction; between hosts a GPU has less.
    """

    name: str
    kinds: tuple[str, ...]
    peak: float
    memory: int
    bandwidth: float
    link: float


# TPU: https://cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} ("peak compute per chip (bf16)", HBM, interconnect: half of
# what is given for both directions). Kinds: jax's tpu_info.py. GPU: NVIDIA's data sheets of A100, H100 and H200, SXM
# unless PCIe is said (dense, half of the figure "with sparsity"; half of NVLink's figure for both directions).
ACCELERATORS = (
    Accelerator(
        name="TPU v4",
        kinds=("TPU v4",),
        peak=275 * TFLOPS,
        memory=32 * 2**30,
        bandwidth=1200 * GB,
        link=150 * GB,
    ),
    Accelerator(
        name="TPU v5e",
        kinds=("TPU v5e", "TPU v5 lite"),
        peak=197 * TFLOPS,
        memory=16 * GB,
        bandwidth=819 * GB,
        link=200 * GB,
    ),
    Accelerator(
        name="TPU v6e",
        kinds=("TPU v6e", "TPU v6 lite"),
        peak=918 * TFLOPS,
        memory=32 * GB,
        bandwidth=1638 * GB,
        link=400 * GB,
    ),
    Accelerator(
        name="TPU v5p",
        kinds=("TPU v5p", "TPU v5"),
        peak=459 * TFLOPS,
        memory=95 * GB,
        bandwidth=2765 * GB,
        link=300 * GB,
    ),
    Accelerator(
        name="A100 80GB",
        kinds=("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM-80GB", "NVIDIA A100 80GB"),
        peak=312 * TFLOPS,
        memory=80 * GB,
        bandwidth=2039 * GB,
        link=300 * GB,
    ),
    Accelerator(
        name="A100 40GB",
        kinds=("NVIDIA A100",),
        peak=312 * TFLOPS,
        memory=40 * GB,
        bandwidth=1555 * GB,
        link=300 * GB,
    ),
    Accelerator(
        name="H100 PCIe",
        kinds=("NVIDIA H100 PCIe",),
        peak=756 * TFLOPS,
        memory=80 * GB,
        bandwidth=2000 * GB,
        link=64 * GB,
    ),
    Accelerator(
        name="H100",
        kinds=("NVIDIA H100",),
        peak=989 * TFLOPS,
        memory=80 * GB,
        bandwidth=3350 * GB,
        link=450 * GB,
    ),
    Accelerator(
        name="H200",
        kinds=("NVIDIA H200",),
        peak=989 * TFLOPS,
        memory=141 * GB,
        bandwidth=4800 * GB,
        link=450 * GB,
    ),
)


def find_accelerator(kind: str, known: Sequence[Accelerator] = ACCELERATORS) -> Accelerator | None:
    """The accelerator of that name (also with - for blanks) or JAX `device_kind`, the first that fits; else None."""
    named = {a.name: a for a in known}
    return named.get(kind.replace("-", " ")) or next((a for a in known if kind.startswith(a.kinds)), None)
