"""The suite checks the shapes that our annotations state."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped

from eomm.evaluation.baselines import Observations
from eomm.models.losses import mean_absolute_error
from tests import shapes


@pytest.mark.parametrize(
    ("shape", "dtype", "raises"),
    [((4,), jnp.float32, False), ((3,), jnp.float32, True), ((4, 1), jnp.float32, True), ((4,), jnp.int32, True)],
)
def test_an_argument_of_another_shape_or_dtype_raises(shape, dtype, raises):
    bands, weight = np.zeros((4, 10), np.float32), jnp.ones(shape, dtype)
    if not raises:
        assert mean_absolute_error(bands, bands, weight)[1] == 4
        return
    with pytest.raises(TypeCheckError, match="weight"):
        mean_absolute_error(bands, bands, weight)


def test_what_a_function_returns_and_a_dataclass_holds_is_checked():
    @jaxtyped(typechecker=shapes.checked)
    def halves(x: Float[np.ndarray, " n"], count: int) -> Float[np.ndarray, " n"]:
        return x[:count]

    assert len(halves(np.zeros(4), np.int64(4))) == 4  # a NumPy number for an int is no mistake
    with pytest.raises(TypeCheckError, match="return value"):
        halves(np.zeros(4), 2)
    with pytest.raises(TypeCheckError, match="valid"):
        Observations(
            values=np.zeros((3, 5, 10), np.float32), valid=np.ones((3, 4), bool), day=np.arange(3, dtype=np.int32)
        )


def test_every_module_of_ours_was_imported_by_the_checking_loader():
    ours = [m for n, m in sys.modules.items() if n.split(".")[0] in ("eomm", "data_prep") and m.__spec__ is not None]
    loaders = {m.__name__: type(m.__spec__.loader).__module__ for m in ours}
    assert loaders and set(loaders.values()) == {"jaxtyping._import_hook"}
