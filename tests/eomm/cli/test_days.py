"""Days as options are read by the one strict parser."""

import argparse
from datetime import date

import pytest

from eomm.cli import main
from eomm.cli.numbers import day


@pytest.mark.parametrize("text", ["2018-07-01", "20180701", "2018-182", "2018-07-01T23:30:00-05:00", " 2018-07-01 "])
def test_every_strict_form_is_a_day(text):
    assert day(text) == date(2018, 7, 1)


@pytest.mark.parametrize(
    "text", ["2018-7-1", "01/07/2018", "2018-W27-1", "20180701.0", "43282", "2018-02-30", "", "now"]
)
def test_everything_else_is_refused_with_the_forms(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected a day, YYYY-MM-DD .*YYYYMMDD or YYYY-DDD"):
        day(text)


@pytest.mark.parametrize(
    "command",
    ["embed --out e --dates 2018-W01-1 2018-02-01", "export e --to cog --out o --dates 2018-1-1 2018-02-01",
     "evaluate reconstruction --model m --cube c --dates 1/2/2018", "simulate s --start 2018-1-1",
     "evaluate probes --cube c --labels l --date 2018-1-1"],
)  # fmt: skip
def test_no_command_reads_days_by_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2 and "expected a day, YYYY-MM-DD" in capsys.readouterr().err
