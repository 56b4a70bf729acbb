"""The counts of shared images are searched once for the same images and split, whatever the cache holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pneumo_cli.data import leak_counts as module
from pneumo_cli.data.leakage import Leaks, find_leaks
from pneumo_cli.data.prepare import PreparedData
from tests.data.test_leakage import Opened, prepared, write


def test_the_search_is_made_once(tmp_path: Path, open_tree: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(open_tree(write(tmp_path / "data")), tmp_path / "cache")
    calls: list[str] = []

    def counted(one: PreparedData) -> Leaks:
        calls.append(one.fingerprint)
        return find_leaks(one)

    monkeypatch.setattr(module, "find_leaks", counted)
    expected = [pair.plain() for pair in find_leaks(data).pairs]
    assert module.leak_counts(data, tmp_path / "cache") == expected
    assert module.leak_counts(data, tmp_path / "cache") == expected
    assert len(calls) == 1
    other = data.split.without([int(data.split.train[0])])
    module.leak_counts(replace(data, split=other), tmp_path / "cache")
    assert len(calls) == 2, "of another split nothing is known"
    for damaged in ("", "[]", '{"format": 1, "pairs": []}', '{"format": 1, "pairs": [{"between": 3}]}'):
        for file in (tmp_path / "cache" / "leaks").iterdir():
            file.write_text(damaged)
        before = len(calls)
        assert module.leak_counts(data, tmp_path / "cache") == expected
        assert len(calls) == before + 1
