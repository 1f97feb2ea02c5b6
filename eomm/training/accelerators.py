"""What the makers state of accelerators: peak, memory, links. Not what a program reaches on them (benchmarks/)."""

from collections.abc import Sequence
from dataclasses import dataclass

GB = 10**9


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


def _stated(name: str, *kinds: str, tflops: int, memory: int, gb_per_s: int, link_gb_per_s: int) -> Accelerator:
    speeds = {"peak": tflops * 10**12, "bandwidth": gb_per_s * GB, "link": link_gb_per_s * GB}
    return Accelerator(name=name, kinds=kinds, memory=memory, **speeds)


A100_80GB = ("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM-80GB", "NVIDIA A100 80GB")
# TPU: https://cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} ("peak compute per chip (bf16)", HBM, interconnect: half of
# what is given for both directions). Kinds: jax's tpu_info.py. GPU: NVIDIA's data sheets of A100, H100 and H200, SXM
# unless PCIe is said (dense, half of the figure "with sparsity"; half of NVLink's figure for both directions).
ACCELERATORS = (
    _stated("TPU v4", "TPU v4", tflops=275, memory=32 * 2**30, gb_per_s=1200, link_gb_per_s=150),
    _stated("TPU v5e", "TPU v5e", "TPU v5 lite", tflops=197, memory=16 * GB, gb_per_s=819, link_gb_per_s=200),
    _stated("TPU v6e", "TPU v6e", "TPU v6 lite", tflops=918, memory=32 * GB, gb_per_s=1638, link_gb_per_s=400),
    _stated("TPU v5p", "TPU v5p", "TPU v5", tflops=459, memory=95 * GB, gb_per_s=2765, link_gb_per_s=300),
    _stated("A100 80GB", *A100_80GB, tflops=312, memory=80 * GB, gb_per_s=2039, link_gb_per_s=300),
    _stated("A100 40GB", "NVIDIA A100", tflops=312, memory=40 * GB, gb_per_s=1555, link_gb_per_s=300),
    _stated("H100 PCIe", "NVIDIA H100 PCIe", tflops=756, memory=80 * GB, gb_per_s=2000, link_gb_per_s=64),
    _stated("H100", "NVIDIA H100", tflops=989, memory=80 * GB, gb_per_s=3350, link_gb_per_s=450),
    _stated("H200", "NVIDIA H200", tflops=989, memory=141 * GB, gb_per_s=4800, link_gb_per_s=450),
)


def find_accelerator(kind: str, known: Sequence[Accelerator] = ACCELERATORS) -> Accelerator | None:
    """The accelerator of that name (also with - for blanks) or JAX `device_kind`, the first that fits; else None."""
    named = {a.name: a for a in known}
    return named.get(kind.replace("-", " ")) or next((a for a in known if kind.startswith(a.kinds)), None)
