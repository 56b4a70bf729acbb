"""Files of weights that are refused: each with a one-line error that leaves the model unchanged."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumo_cli.errors import UsageError
from pneumo_cli.trainers.pretrained import read_weights
from tests.trainers.small_network import network, other_state, refused


def test_a_missing_file_or_a_folder(tmp_path: Path) -> None:
    assert "nothing.pt': this file does not exist; imagenet and none are possible too" in refused(
        tmp_path / "nothing.pt"
    )
    assert "this file is a folder" in refused(tmp_path)
    assert "does not exist" in refused("~nobody-of-this-name/weights.pt")


def test_a_file_without_read_permission(file: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(other_state())

    def forbidden(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(
        torch, "load", forbidden
    )  # the tests may run as root, for whom all files are readable
    assert f"the weights {path} cannot be read: Permission denied" in refused(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", bytes(range(256)) * 8, b"<html>404</html>", b"\x80\x02", b"\x80\x02K\x01."],
    ids=["empty", "a zip's first bytes", "noise", "a web page", "a pickle's first bytes", "a pickled number"],
)
def test_a_file_that_was_not_written_by_torch_save(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    line = refused(path)
    assert str(path) in line
    assert "the file is damaged, or no file of torch.save" in line


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 0.999])
def test_a_truncated_file(file: Callable[[Any], Path], share: float) -> None:
    path = file(other_state())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "the file is damaged" in refused(path)


@pytest.fixture(scope="module")
def saved() -> dict[bool, bytes]:
    """A state dict in torch's current format (True), and in that of versions before 1.6 (False)."""
    written = {}
    for recent in (True, False):
        buffer = io.BytesIO()
        torch.save(
            {"a": torch.ones(2, 3), "b": torch.tensor(4)}, buffer, _use_new_zipfile_serialization=recent
        )
        written[recent] = buffer.getvalue()
    return written


@settings(max_examples=300, deadline=None, derandomize=True)
@given(recent=st.booleans(), where=st.floats(0, 1), values=st.binary(min_size=1, max_size=6))
def test_any_damaged_file_is_read_or_is_a_one_line_error(
    saved: dict[bool, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    recent: bool,
    where: float,
    values: bytes,
) -> None:
    content = bytearray(saved[recent])
    start = int(where * min(len(content), 1000))
    content[start : start + len(values)] = values
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(content)
    try:
        read_weights(path)
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017  (whether it is raised depends on the damage)


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.trace}",))


def test_code_in_a_file_is_not_run(tmp_path: Path, file: Callable[[Any], Path]) -> None:
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists()  # it would work
    trace.unlink()
    line = refused(file({**other_state(), "extra": Malicious(trace)}))
    assert (
        "it holds code, or objects other than tensors, and is not loaded; save only model.state_dict()"
        in line
    )
    assert "it holds code" in refused(file({"model": other_state(), "average": Malicious(trace)}))
    for protocol in (2, 4, 5):
        path = tmp_path / "weights.pkl"
        path.write_bytes(pickle.dumps({"a": Malicious(trace)}, protocol))
        assert f"the weights {path} cannot be read" in refused(path)
    assert not trace.exists()


def test_a_completely_saved_model_is_an_error_that_explains_what_to_save(file: Callable[[Any], Path]) -> None:
    assert "save only model.state_dict()" in refused(file(network()))


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        7,
        {},
        {"a": 1, "b": torch.zeros(2)},
        {0: torch.zeros(2)},
        {"model": {"a": 1}},
        {"model": {}},
        {"model": {"weights": {}, "epoch": 3}, "args": {"lr": 0.1}},
        {"optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}}},
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.empty(3, device="meta")},
        {"a": torch.zeros(3, dtype=torch.complex64)},
    ],
    ids=str,
)
def test_content_other_than_a_state_dict(file: Callable[[Any], Path], content: Any) -> None:
    assert "holds no state dict: a mapping from names to" in refused(file(content))
