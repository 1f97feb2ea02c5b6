"""How many floating-point operations a training step takes, counted from the traced loss. Not what a device reaches.

The count follows from shapes alone and holds for every stage and every encoder, also a user's own. Counted are matrix
products and convolutions, a multiply-add as two, as is usual for model FLOP utilisation (Chowdhery et al. 2022, PaLM,
arXiv 2204.02311, appendix B): what the model needs, so nothing is counted twice for rematerialisation. Norms,
softmax and the depthwise convolutions, which are sums of shifted products, are not: in the default encoder the
latter add 3 % of multiply-adds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from eomm.models.interface import Tree
from eomm.training.accelerators import find_accelerator

if TYPE_CHECKING:
    from eomm.training.stage import Stage


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one step over the global batch.

    Attributes:
        forward: of the loss.
        backward: of its gradient with respect to what is trained.
    """

    forward: float = 0.0
    backward: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.forward + self.backward

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.forward + other.forward, self.backward + other.backward)

    def times(self, count: int) -> "Flops":
        """So many of them."""
        return Flops(self.forward * count, self.backward * count)


def training_flops(stage: "Stage", batch: Tree) -> float:
    """Operations of one training step of a stage on a batch, over all devices: those of its matrix products.

    Tracing takes a second or so and computes nothing.

    Args:
        stage: what is trained.
        batch: the global batch, arrays or ShapeDtypeStructs.
    """
    return count_flops(stage, batch).total


def count_flops(stage: "Stage", batch: Tree) -> Flops:
    """As `training_flops`, forward and backward apart.

    A product of two matrices takes as many operations again for each of them whose gradient is needed: both where both
    depend on trained parameters, one in the first layer and behind frozen parameters, none in a frozen encoder.
    """
    rng = jax.random.key(0)
    params = jax.eval_shape(stage.init, rng)
    arguments = (params, stage.frozen, batch, rng)
    traced = jax.make_jaxpr(stage.loss)(*arguments).jaxpr
    leaves = [len(jax.tree.leaves(a)) for a in arguments]
    return _count(traced, [True] * leaves[0] + [False] * sum(leaves[1:]))[0]


def peak_flops(device: jax.Device) -> float | None:
    """Dense bfloat16 operations per second that the maker states for a device; None where that is not known.

    Utilisation is measured against this whatever dtype is computed in. On a CPU there is none: benchmarks/train.py
    measures what a matrix product reaches.
    """
    known = find_accelerator(device.device_kind)
    return known.peak if known else None


def _count(jaxpr: Any, trained: Sequence[bool]) -> tuple[Flops, list[bool]]:
    """Operations of a jaxpr, and which of its results depend on what is trained; `trained` says so of its inputs."""
    depends = dict(zip(jaxpr.invars, trained, strict=True))
    total = Flops()
    for equation in jaxpr.eqns:
        given = [not _is_literal(v) and depends.get(v, False) for v in equation.invars]
        flops, results = _count_equation(equation, given)
        total += flops
        for var, result in zip(equation.outvars, results, strict=True):
            depends[var] = result and jnp.issubdtype(var.aval.dtype, jnp.inexact)
    return total, [not _is_literal(v) and depends.get(v, False) for v in jaxpr.outvars]


def _count_equation(equation: Any, given: list[bool]) -> tuple[Flops, list[bool]]:
    name, params = equation.primitive.name, equation.params
    if name in _PRODUCTS:
        forward = _PRODUCTS[name](equation)
        return Flops(forward, forward * sum(given[:2])), [any(given)]
    if name == "scan":
        return _count_scan(params, given)
    if name == "cond":  # the costliest branch
        branches = [_count(b.jaxpr, given[1:]) for b in params["branches"]]
        results = [any(r) for r in zip(*(results for _, results in branches), strict=True)]
        return max((f for f, _ in branches), key=lambda f: f.total), results
    inner = list(_inner_jaxprs(params))
    if len(inner) == 1 and len(inner[0].invars) == len(given) and len(inner[0].outvars) == len(equation.outvars):
        return _count(inner[0], given)  # jit, checkpoint, custom derivatives
    # The rest: elementwise operations, and whatever else holds jaxprs, such as a while loop, whose passes are not
    # known and count as one.
    total = sum((_count(j, [any(given)] * len(j.invars))[0] for j in inner), Flops())
    return total, [any(given) and name != "stop_gradient"] * len(equation.outvars)


def _count_scan(params: Any, given: list[bool]) -> tuple[Flops, list[bool]]:
    body, consts, carried = params["jaxpr"].jaxpr, params["num_consts"], params["num_carry"]
    given = list(given)
    while True:  # what is carried may come to depend on what is trained in a later pass
        flops, results = _count(body, given)
        carry = [a or b for a, b in zip(given[consts : consts + carried], results[:carried], strict=True)]
        if carry == given[consts : consts + carried]:
            return flops.times(params["length"]), results
        given[consts : consts + carried] = carry


def _matrix_product(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = equation.invars[0].aval, equation.outvars[0].aval
    length = math.prod(left.shape[axis] for axis in contracted)
    return _per_multiply_add(out.dtype) * math.prod(out.shape) * length


def _convolution(equation: Any) -> float:
    kernel, out = equation.invars[1].aval, equation.outvars[0].aval
    features = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    return _per_multiply_add(out.dtype) * math.prod(out.shape) * math.prod(kernel.shape) / max(features, 1)


def _per_multiply_add(dtype: Any) -> int:
    return 8 if jnp.issubdtype(dtype, jnp.complexfloating) else 2


_PRODUCTS = {"dot_general": _matrix_product, "conv_general_dilated": _convolution}


def _inner_jaxprs(params: Any) -> Iterator[Any]:
    for value in params.values():
        if hasattr(value, "jaxpr"):  # closed
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value


def _is_literal(var: Any) -> bool:
    return hasattr(var, "val")
