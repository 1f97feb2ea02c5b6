import json

from benchmarks import picture
from benchmarks.growth import Row


def row(count: int) -> Row:
    return {"count": count, "cpu_seconds": 3.0 + count, "peak_mib": 400.0}


def test_the_picture_is_drawn_from_what_the_benchmarks_wrote(tmp_path):
    pieces = {"features s2": 1.5, "reading s2": 0.001, "fusion": 2.0}
    shares = {name: micro / 3.501 for name, micro in pieces.items()}
    profile = {"pieces": pieces, "shares": shares, "processor_microseconds": 3.501}
    growth = {"sites": {step: [row(1), row(10)] for step in picture.STEPS}}
    left, middle, _ = picture.draw(profile, growth).axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["all else", "fusion", "features s2"]
    assert list(middle.get_lines()[0].get_ydata()) == [4.0, 13.0]
    for name, result in (("profile", profile), ("growth", growth)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    files = ["--profile", tmp_path / "profile.json", "--growth", tmp_path / "growth.json"]
    picture.main([*map(str, files), "--out", str(tmp_path / "p.svg")])
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")
