import pytest

from benchmarks import profile
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.models.context import ContextEncoder
from eomm.models.directory import Model
from eomm.models.fusion import Fusion


def test_operations_are_counted_as_the_layers_have_them():
    encoders = {n: ContextEncoder(modality=m) for n, m in (("s2", SENTINEL2), ("s1", SENTINEL1))}
    fusion = Fusion.build({n: e.dim for n, e in encoders.items()}, {})
    model = Model(encoders=encoders, decoders={}, fusion=fusion, params={}, parts={}, info={})
    once = {"s2": 1.0, "s1": 1.0}
    found = profile.operations(model, once, once)
    width = model.encoders["s2"].width
    # Products of [width, width] are most multiply-adds; the rest is bands, depthwise sums and attention.
    share = found["products"] * width**2 / sum(model.macs().values())
    assert 0.8 < share < 1.0
    more = profile.operations(model, {"s2": 1.0, "s1": 3.0}, once)
    assert more["depthwise sums"] - found["depthwise sums"] == 2 * len(model.encoders["s1"].dilations)
    again = profile.operations(model, once, {"s2": 1.0, "s1": 4.0})
    assert again["products"] - found["products"] == 2 * 3  # a key and a value of each


@pytest.mark.whole
def test_what_embedding_spends_its_time_on_is_measured_piece_by_piece():
    result = profile.run(size_px=32, repeats=1)
    assert sum(result["shares"].values()) == pytest.approx(1)
    assert {"features s1", "attention s2", "fusion", "reading s2", "writing"} < set(result["pieces"])
    assert all(v >= 0 for v in result["operations"].values()) and result["processor_microseconds"] > 0
