"""Output in encodings that lack characters: nothing is ever raised, and what can be read stays readable."""

from __future__ import annotations

import io
import os
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.runtime.signals import Interruption, interruptible
from pneumo_cli.runtime.streams import degrade_output, encodable, open_missing, stdout_to_stderr


def test_what_is_written_to_a_closed_stream_is_lost_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    open_missing()
    for stream in (sys.stdout, sys.stderr):
        print("\u2013", file=stream)
        stream.flush()
        stream.close()


def printed(text: str, encoding: str, errors: str = "strict") -> bytes:
    """What arrives of a text on a stdout of this encoding."""
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(stream := io.BytesIO(), encoding, errors)
    try:
        degrade_output()
        print(text, end="")
        sys.stdout.flush()
        return stream.getvalue()
    finally:
        sys.stdout = before


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"0.95-0.98 +-2 x 3 >= 1 -> e ... ?"),
        ("latin-1", b"0.95-0.98 \xb12 \xd7 3 >= 1 -> \xe9 ... ?"),
        ("cp1252", b"0.95\x960.98 \xb12 \xd7 3 >= 1 -> \xe9 \x85 ?"),
        ("utf-8", "0.95–0.98 ±2 × 3 ≥ 1 → é … 胸".encode()),
    ],
)
def test_characters_become_the_nearest_that_the_encoding_has(encoding: str, shown: bytes) -> None:
    assert printed("0.95–0.98 ±2 × 3 ≥ 1 → é … 胸", encoding) == shown


@given(
    st.text(st.characters(exclude_categories=())), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8"])
)
def test_every_text_can_be_printed_and_keeps_what_the_encoding_has(text: str, encoding: str) -> None:
    text = text.replace("\r", "").replace("\n", "")  # as the system ends lines
    kept = [character for character in text if character.encode(encoding, "ignore")]
    left = iter(printed(text, encoding).decode(encoding))
    assert all(character in left for character in kept)


def test_a_handler_that_was_asked_for_is_kept() -> None:
    assert printed("é", "ascii", "xmlcharrefreplace") == b"&#233;"


def test_undecodable_file_names_are_printed_as_they_are_in_the_c_locale() -> None:
    assert printed("a\udcff–", "ascii", "surrogateescape") == b"a\xff-"
    assert printed("a\udcff–", "utf-8") == "a?–".encode()


def test_help_degrades_as_the_rest_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert encodable("PNEUMO_…") == "PNEUMO_..."


def test_what_a_plugin_prints_goes_to_stderr_and_in_a_program_where_that_prints(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def printed() -> tuple[str, str]:
        with stdout_to_stderr(), stdout_to_stderr():
            print("by Python")
            os.write(1, b"by C\n")
        return capfd.readouterr()

    both = ["by C", "by Python"]
    assert [sorted(text.splitlines()) for text in printed()] == [[], both]
    with interruptible(Interruption()):
        assert [sorted(text.splitlines()) for text in printed()] == [both, []]


def test_threads_that_redirect_at_once_leave_stdout_as_it_was() -> None:
    before, inside, first_ended = sys.stdout, threading.Event(), threading.Event()

    def second() -> None:
        with stdout_to_stderr():
            inside.set()
            first_ended.wait(10)

    thread = threading.Thread(target=second)
    with stdout_to_stderr():
        thread.start()
        inside.wait(10)
    first_ended.set()
    thread.join()
    assert sys.stdout is before
