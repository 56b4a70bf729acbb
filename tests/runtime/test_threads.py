"""Threads for reading and decoding."""

from pneumo_cli.runtime.threads import ordered_map


def test_the_threads_stop_soon_after_their_consumer() -> None:
    started = []
    results = ordered_map(lambda number: started.append(number) or number, range(10_000))
    assert next(results) == 0
    results.close()
    assert len(started) < 1000
