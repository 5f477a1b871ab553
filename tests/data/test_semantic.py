"""Rows that mean the same: the vectors of a local model, one survivor in each cluster, evaluations in other words."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuiwb import data
from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.cli.main import main
from tuiwb.data.clean import embed
from tuiwb.data.clean.clusters import clusters
from tuiwb.data.clean.lists import step_of
from tuiwb.data.clean.run import clean
from tuiwb.data.clean.semantic import closest


def unit(*rows: list[float]) -> embed.Vectors:
    found = np.array(rows, np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_one_of_each_cluster_stays_and_chains_do_not_link() -> None:
    # Each is .9 like the one before, .6 like the one before that.
    turns = np.arccos(0.9) * np.arange(5)
    of = unit(*[[np.cos(turn), np.sin(turn)] for turn in turns])
    found, near = closest(of, 0.89, 0, np.arange(5), True, Task())
    assert [(later, earlier) for later, earlier, _ in found] == [(1, 0), (3, 2)]
    assert {later for later, _, _ in near} == set()
    assert closest(of, 0.91, 0, np.arange(5), True, Task())[1][0][0] in range(1, 5)


@pytest.mark.parametrize("among", [True, False])
def test_as_comparing_every_pair_does(among: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuiwb.data.clean import semantic

    monkeypatch.setattr(semantic, "_BLOCK", 7)
    monkeypatch.setattr(semantic, "_SIDE", 5)
    of = unit(*np.random.default_rng(1).normal(size=(60, 3)).tolist())
    here = np.array([n for n in range(10, 60) if n % 6])
    stay, wanted = list(range(10)), {}
    for number in here.tolist():
        best = max(stay, key=lambda one: float(of[number] @ of[one]))
        if of[number] @ of[best] >= 0.95:
            wanted[number] = best
        elif among:
            stay.append(number)
    found, _ = closest(of, 0.95, 10, here, among, Task())
    assert {later: earlier for later, earlier, _ in found} == wanted
    assert wanted


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["data", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.torch
def test_with_a_local_model(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pick = random.Random(3)
    words = [f"{a}{b}" for a in "bdfgklmn" for b in ("ark", "ell", "ison", "ub")]
    texts = [" ".join(pick.choices(words, k=40)) for _ in range(40)]
    texts.append(f"{texts[5]} so")
    path, prompts = tmp_path / "rows.jsonl", tmp_path / "eval.jsonl"
    path.write_text("".join(json.dumps({"prompt": text, "completion": "yes"}) + "\n" for text in texts))
    prompts.write_text(json.dumps({"prompt": f"{texts[5]} too", "completion": "no"}) + "\n")

    found = asked(capsys, "dedup", path, "--semantic", tiny_model, "--cosine", "0.95", "--exact")
    assert found["semantic_duplicates"] == 1
    assert [(one["kept"], [row["row"] for row in one["rows"]]) for one in found["clusters"]] == [(5, [40])]
    assert len(list((tmp_path / "home" / "cache" / "meanings").iterdir())) == 1

    monkeypatch.setattr(embed, "_made", None)  # what was embedded is not embedded again
    view = data.open(path)
    cleaned = clean(view, [step_of("semantic_duplicates", {"model": str(tiny_model), "threshold": 0.5})])
    assert sum(len(one.members) for one in clusters(cleaned)) == cleaned.flagged >= 1
    monkeypatch.undo()

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words_of = ("contamination", path, "--n", 50, "--against", prompts, "--semantic", tiny_model, "--cosine", "0.95")
    found = asked(capsys, *words_of)
    rows = {one["row"] for one in found["matches"] if "cosine" in one}
    assert 5 in rows
    assert rows <= {5, 40}


def test_what_cannot_embed(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="neither a model's folder"):
        embed.vectors(["a"], str(next(tiny_model.glob("*.json"))), Task())
    task = Task()
    task.cancel()
    with pytest.raises(Cancelled):
        embed.vectors(["a"], str(tiny_model), task)
    assert not list((tmp_path / "home" / "cache" / "meanings").iterdir())
