"""Near-duplicates never straddle the parts of a split."""

import json
from pathlib import Path

import numpy as np
import pytest

from tuiwb.cli.main import main
from tuiwb.data.grouping import joined


def test_groups_go_from_pair_to_pair() -> None:
    groups = joined(7, np.array([[0, 3], [5, 3], [1, 2]])).tolist()
    assert groups == [0, 1, 1, 0, 4, 0, 6]


def test_a_split_keeps_near_duplicates_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    near = rows.with_name("near.jsonl")
    text = "this answer is written twice with one small difference in the very last words of all {}"
    many = [f"{text} number {n} of them" for n in range(30)]
    near.write_text(
        "".join(
            json.dumps({"prompt": f"prompt {n}", "completion": said.format(which), "n": n}) + "\n"
            for n, said in enumerate(
                f"{n} {' '.join(f'w{n}x{k}' for k in range(40))} {one}" for n, one in enumerate(many)
            )
            for which in ("here", "there")
        )
    )
    assert (
        main(["data", "split", str(near), "--group", "near", "--output", str(rows.with_name("apart")), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["groups"] == 30
    numbers = [
        {json.loads(line)["n"] for line in (rows.with_name("apart") / f"{name}.jsonl").read_text().splitlines()}
        for name in ("train", "eval")
    ]
    assert numbers[1]
    assert not numbers[0] & numbers[1]
