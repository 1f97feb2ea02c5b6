import base64
import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from eomm.data.cube import open_cube
from eomm.errors import DataError, UsageError
from eomm.evaluation import say
from eomm.evaluation.result_file import read_result, result_of
from eomm.models.directory import save_model
from eomm.page import html as page
from eomm.report import build as report
from eomm.report.data import read_metrics
from tests import zoo

HOSTILE = "<script>alert('x')</script>&\""
SECTIONS = (
    "Ask the embedding|Conclusions|"
    "Maps|Hidden-target skill|By band, and compression|Spectra of hidden targets|Series at the same pixels|"
    "Training|Training on simulated data|Embedding through time|Observations|What limits the vectors|Data and model|"
    "To repeat this"
).split("|")


class Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.titles, self._title = [], [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        self._title = tag == "h2"

    def handle_data(self, data):
        if self._title:
            self.titles.append(data.strip())
        self._title = False


def parse(path):
    seen = Seen()
    seen.feed(path.read_text())
    return seen


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of a fused model at a hostile, simulated site."""
    work = tmp_path_factory.mktemp("report")
    for path, copy in ((zoo.cube().path, work / "cube.zarr"), (zoo.store("clear"), work / "embedding.zarr")):
        head = json.loads((shutil.copytree(path, copy) / "zarr.json").read_text())
        head["attributes"]["site"] = HOSTILE
        (copy / "zarr.json").write_text(json.dumps(head))
    cube, model = open_cube(work / "cube.zarr"), zoo.model()
    evaluation = write_copy(work / "evaluation", site=HOSTILE, dataset=HOSTILE, commands=["eomm demo <&>"])
    lines = [{"step": s, "loss": 1 / s, "s2_hidden_mae": 0.1 / s, "s1_hidden_mae": 2.0} for s in (10, 20, 30)]
    lines.append({"step": 30, "validation/loss": 0.5})
    (work / "fusion").mkdir()
    (work / "fusion" / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + '{"step": 40, "lo')
    runs = [zoo.trained(), work / "fusion"]
    parts = {"cube": cube, "embedding": work / "embedding.zarr", "model": model, "evaluations": [evaluation]}
    return report.build(work / "page" / "index.html", **parts, runs=runs), parts


def write_copy(folder, **changes):
    """The zoo's result of hidden targets with its figures, changed."""
    source = zoo.result("reconstruction")
    shutil.copytree(source.parent, folder)
    found = json.loads(source.read_text()) | changes
    (folder / source.name).write_text(json.dumps(found))
    return folder / source.name


def test_page_is_self_contained_and_complete(made):
    path, _ = made
    seen = parse(path)
    assert seen.titles == SECTIONS
    contents = [link for link in seen.links if link.startswith("#")]
    assert contents == [f"#part-{i}" for i in range(1, len(SECTIONS) + 1)]
    assert all(link == "data:," or link.startswith("data:image/png;base64,") for link in seen.links if link[0] != "#")
    assert not {"iframe", "object"} & set(seen.tags)
    text = path.read_text()
    ours = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # Bokeh's code names places it never asks here
    assert not re.search(r"url\(|@import|https?://", ours)
    assert 'name="viewport"' in text and "default-src 'none'" in text and "connect-src 'none'" in text


def test_the_verdict_is_the_first_sentence_and_plain(made):
    text = made[0].read_text()
    verdict = read_result(made[1]["evaluations"][0]).headline
    assert f'<p class="plain">{verdict}</p>' in text and text.index(verdict) < text.index("<nav")
    assert verdict.startswith("The fused model predicts hidden dates") and "does not count as skill" in verdict


def test_every_figure_lies_beside_the_page(made):
    path, _ = made
    pngs = sorted(p.stem for p in (path.parent / "index_figures").glob("*.png"))
    assert pngs == sorted("maps skill bands spectra series training training_simulated pixel counts layers".split())
    assert parse(path).tags.count("img") == len(pngs)


def test_text_from_data_is_escaped(made):
    text = made[0].read_text()
    assert HOSTILE not in text and "&lt;script&gt;" in text
    assert "eomm demo &lt;&amp;&gt;" in text


def test_simulated_is_said_first_and_only_where_true(made, tmp_path):
    assert made[0].read_text().index("SIMULATED") < made[0].read_text().index("<h1>")
    plain = report.build(tmp_path / "real.html", evaluations=[write_evaluation(tmp_path)])
    assert "SIMULATED" not in plain.read_text()


def test_conclusions_name_baselines_and_do_not_claim_what_does_not_count(made):
    result = read_result(made[1]["evaluations"][0])
    lines = " ".join([*map(say.verdict, result.verdicts), *result.conclusions])
    assert "It is not shown that the scores count" in lines and "linear in time" in lines
    assert "Compression, not skill" in lines
    assert f"{result['hidden']['all']['20']['methods']['fused']['value']:.4f}" in lines


def test_of_many_findings_the_first_few_stand_open():
    few, many = (page.conclusions([f"finding {i}" for i in range(n)]) for n in (page.OPEN + 1, page.OPEN + 2))
    assert "<details>" not in few and few.count("<li>") == page.OPEN + 1
    shown, folded = many.split("<details><summary>2 more findings</summary>")
    assert shown.count("<li>") == page.OPEN and folded.count("<li>") == 2


def test_a_page_without_runs_or_figures(made, tmp_path):
    _, parts = made
    bare = write_copy(tmp_path / "bare", figures=[], commands=["eomm evaluate reconstruction --cube c"])
    path = report.build(tmp_path / "bare.html", **{**parts, "evaluations": [bare]})
    titles = parse(path).titles
    assert (
        "Training" not in titles and "Spectra of hidden targets" not in titles and "Reconstruction, site one" in titles
    )
    assert "eomm evaluate reconstruction --cube c" in path.read_text()


def test_nothing_is_replaced_unless_asked(made, tmp_path):
    only = {"evaluations": made[1]["evaluations"]}
    path = report.build(tmp_path / "page.html", **only)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"page\.html: already exists.*--overwrite"):
        report.build(path, **only, title="another")
    assert path.read_bytes() == before
    assert report.build(path, **only, title="another", overwrite=True).read_bytes() != before


PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")


def write_evaluation(folder, name="gpp", **changes):
    """The result of an evaluation of any kind, with a figure beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.png").write_bytes(PNG)
    result = {
        "kind": name,
        "simulated": False,
        "conclusions": [f"{name} beats nothing {HOSTILE}"],
        "tables": [{"title": "Scores", "columns": ["method", "R2"], "rows": [["ridge", "0.68 (0.58 to 0.74)"]]}],
        "figures": [{"title": "Scatter", "caption": "a caption", "png": "own.png"}],
        "commands": [f"eomm evaluate {name} --towers"],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result | changes))
    return path


@pytest.mark.whole
def test_results_of_every_evaluation_stand_on_one_page(tmp_path):
    kinds = ("reconstruction", "fusion", "coherence", "probes", "gpp")
    page = report.build(tmp_path / "p.html", evaluations=[zoo.result(kind) for kind in kinds])
    text, titles = page.read_text(), parse(page).titles
    for kind in kinds:
        assert f"eomm evaluate {kind}" in text
        for line in json.loads(zoo.result(kind).read_text())["conclusions"][:1]:
            assert html.escape(line) in text
    assert "SIMULATED" in text and titles[0] == "Conclusions"


def test_any_evaluation_of_the_shared_form_is_shown(tmp_path):
    page = report.build(tmp_path / "p.html", evaluations=[write_evaluation(tmp_path / "a")])
    text = page.read_text()
    assert "gpp beats nothing &lt;script" in text and HOSTILE not in text
    assert "<td>0.68<small>0.58 to 0.74</small></td>" in text and "a caption" in text
    assert "eomm evaluate gpp --towers" in text and parse(page).tags.count("img") == 1
    assert parse(page).titles == ["Conclusions", "Scatter", "Data and model", "To repeat this"]


def test_simulated_and_real_are_marked_apart_and_share_no_table(tmp_path):
    real = write_evaluation(tmp_path / "a")
    simulated = write_evaluation(tmp_path / "a", "drought", simulated=True)
    text = report.build(tmp_path / "p.html", evaluations=[real, simulated]).read_text()
    assert "No image and no number" not in text  # not the whole page
    for section in re.findall(r"<section.*?</section>", text, re.DOTALL)[1:-2]:
        marked = "SIMULATED DATA" in section
        assert marked == ("(Drought)" in section) == ('class="sim"' in section)
        assert section.count("<table>") == 1
    whole = report.build(tmp_path / "q.html", evaluations=[simulated]).read_text()
    assert "No image and no number" in whole and "SIMULATED DATA" not in whole


def test_what_lies_below_a_folder_is_found(made, tmp_path):
    path, parts = made
    work = path.parent.parent
    write_evaluation(work / "scores" / "deep")
    save_model(parts["model"], work / "fusion" / "model", overwrite=True)
    named = report.build(tmp_path / "found.html", folders=[work])
    text = named.read_text()
    assert "gpp beats nothing" in text and "Maps" in parse(named).titles and parts["model"].hash in text
    assert "Training" in parse(named).titles and "fusion" in text
    with pytest.raises(DataError, match="holds no run"):
        report.build(tmp_path / "x.html", folders=[tmp_path / "found_figures"])
    with pytest.raises(DataError, match="nothing to report"):
        report.build(tmp_path / "x.html")


def test_several_embeddings_must_be_told_apart(made, tmp_path):
    work = tmp_path / "two"
    for name in ("a", "b"):
        shutil.copytree(made[1]["embedding"], work / f"{name}.zarr")
    with pytest.raises(UsageError, match=r"several embeddings.*--embedding"):
        report.build(tmp_path / "p.html", folders=[work])
    with pytest.raises(UsageError, match="--cube"):
        report.build(tmp_path / "p.html", embedding=work / "a.zarr")


def test_damaged_evaluations_are_named(tmp_path):
    with pytest.raises(DataError, match="not the result of an evaluation"):
        (tmp_path / "x.json").write_text("[1]")
        report.build(tmp_path / "p.html", evaluations=[tmp_path / "x.json"])
    missing = write_evaluation(tmp_path / "a", figures=[{"title": "T", "caption": "", "png": "gone.png"}])
    with pytest.raises(DataError, match=r"gone\.png: missing"):
        report.build(tmp_path / "p.html", evaluations=[missing])
    (tmp_path / "a" / "gone.png").write_text("<svg/>")
    with pytest.raises(DataError, match="is no PNG"):
        report.build(tmp_path / "p.html", evaluations=[missing])
    assert not (tmp_path / "p.html").exists() and not (tmp_path / "p_figures").exists()


def test_a_broken_file_below_a_folder_does_not_stop_the_page(tmp_path):
    write_evaluation(tmp_path / "a")
    (tmp_path / "a" / "half.json").write_text('{"kind": ')
    text = report.build(tmp_path / "p.html", folders=[tmp_path / "a"]).read_text()
    assert "gpp beats nothing" in text and "half.json" in text and "not read" in text
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "half.json").write_text("")
    with pytest.raises(DataError, match="holds no run"):
        report.build(tmp_path / "q.html", folders=[tmp_path / "b"])


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"kind": "../../gone"}, "kind is '../../gone', expected a lower-case word"),
        ({"simulated": "no"}, "simulated is .*expected"),
        ({"conclusions": "all is well"}, "conclusions is .*expected"),
        ({"tables": [{"title": "T", "columns": ["a", "b"], "rows": [["1"]]}]}, "not as wide"),
        ({"tables": [{"title": "T", "columns": ["a"], "rows": ["1"]}]}, "tables/0/rows/0 is"),
        ({"figures": ["own.png"]}, "figures/0 is"),
        ({"figures": [{"title": "T", "png": "../own.png"}]}, "lies outside its folder"),
        ({"figures": [{"title": "T", "png": "/own.png"}]}, "lies outside its folder"),
    ],
)
def test_files_of_others_are_not_trusted(tmp_path, changes, error):
    """No file but the page is written, none outside the result's folder is read, and what is wrong is named."""
    (tmp_path / "own.png").write_bytes(PNG)
    path = write_evaluation(tmp_path / "a", **changes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=error):
        report.build(tmp_path / "b" / "p.html", evaluations=[path])
    assert [p for p in sorted(tmp_path.rglob("*")) if p.is_file()] == [p for p in before if p.is_file()]


def test_a_result_of_main_before_results_were_typed_is_read(tmp_path):
    """Numbers of another form, a verdict as one of them, figures beside the file."""
    old = write_evaluation(tmp_path, "reconstruction", site="a", verdict={"counts": None}, hidden={"all": {}})
    result = read_result(old)
    assert result.dataset == "a" and result.verdicts == () and result["verdict"] == {"counts": None}
    assert result.figures[0].png == "own.png"
    assert "reconstruction beats nothing" in report.build(tmp_path / "p.html", evaluations=[old]).read_text()


def test_a_result_without_sentences_says_how_to_make_it_anew(tmp_path):
    with pytest.raises(DataError, match=r"old: .*evaluate again, by eomm evaluate reconstruction"):
        result_of({"eomm:kind": "evaluation of reconstruction", "hidden": {}}, "old")


def test_what_is_written_is_read_again():
    found = read_result(zoo.result("reconstruction"))
    assert result_of(found.to_json(), "again") == found


def test_missing_logs_are_refused_and_damaged_lines_are_said(tmp_path, capsys):
    with pytest.raises(DataError, match=r"metrics\.jsonl: missing"):
        read_metrics(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 2}\nnonsense\n')
    steps, values = read_metrics(tmp_path / "metrics.jsonl")["a"]
    assert (steps.tolist(), values.tolist()) == ([1], [2]) and "left out 1 lines" in capsys.readouterr().err
