"""What the page shows of the layers beside vectors."""

import numpy as np

from eomm.embedding.layers import FLAGS
from eomm.embedding.run import embed, open_embedding
from eomm.report.build import embedding_sections
from eomm.report.data import LAYER_WORDS, Views
from tests import zoo
from tests.eomm.embedding.test_state_layers import DEVIATION, state_model


def test_means_of_what_is_told_of_a_state_stand_on_the_page(tmp_path):
    path = embed(state_model(deviation=DEVIATION), zoo.cube(), tmp_path / "e.zarr", dtype="float32")
    views = Views(zoo.cube(), path)
    means, shares = views.layers()
    titles = ["support: mean", "days to nearest: mean", "distance to training: mean"]
    assert list(means) == titles
    with open_embedding(path) as ds:
        carried = {
            n for n, b in FLAGS.items() if ((ds["flags"].values & b > 0) & ds["valid"].values.astype(bool)).any()
        }
        assert set(shares) == {f"share of dates: {n}" for n in carried} and "alone" not in carried
        np.testing.assert_allclose(means[titles[0]], ds["support"].mean("time"), rtol=1e-5)
    section = embedding_sections(views, tmp_path, True)[-1]
    assert section.title == "What limits the vectors" and LAYER_WORDS["support"] in section.body
    assert LAYER_WORDS["expected error"] not in section.body
    means, shares = Views(zoo.cube(), zoo.store("clear")).layers()
    assert means == {} and "share of dates: edge" in shares  # of an encoder with a halo
