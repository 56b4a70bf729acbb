"""The cache of decoded images."""

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pneumo_cli.data.cache import cache_usage, decoded_images
from pneumo_cli.data.decoding import decode, resize
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime.progress import Progress

SIZE = 8


def test_each_row_is_the_decoded_and_resized_image(tree: Path, cache: Path, open_tree: Callable) -> None:
    dataset = open_tree(tree)
    found = decoded_images(dataset, SIZE, cache, Progress())
    assert found.unreadable == {}
    assert not found.images.flags.writeable
    for position, record in enumerate(dataset.records):
        assert np.array_equal(found.images[position], resize(decode((tree / record.name).read_bytes()), SIZE))


def test_a_second_run_decodes_nothing_except_at_another_size(
    tree: Path, cache: Path, open_tree: Callable
) -> None:
    first = decoded_images(open_tree(tree), SIZE, cache, Progress())
    again = open_tree(tree)
    assert np.array_equal(decoded_images(again, SIZE, cache, Progress()).images, first.images)
    assert again.reads == 8  # compared with the cache
    assert decoded_images(again, SIZE + 1, cache, Progress()).images.shape[1:] == (SIZE + 1, SIZE + 1)
    assert cache_usage(cache)[0] == 2
    assert cache_usage(cache)[1] >= 48 * (SIZE**2 + (SIZE + 1) ** 2)


def test_a_changed_file_is_decoded_again(
    tree: Path, cache: Path, open_tree: Callable, make_png: Callable[..., bytes]
) -> None:
    decoded_images(open_tree(tree), SIZE, cache, Progress())
    dataset = open_tree(tree)
    (tree / dataset.records[0].name).write_bytes(make_png(999, 20))
    changed = open_tree(tree)
    row = decoded_images(changed, SIZE, cache, Progress()).images[0]
    assert np.array_equal(row, resize(decode(make_png(999, 20)), SIZE))


@pytest.mark.parametrize("damage", ["flip", "truncate", "grow", "manifest", "no data", "empty manifest"])
def test_a_damaged_cache_is_detected_and_rebuilt_with_one_warning(
    tree: Path, cache: Path, open_tree: Callable, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = np.array(decoded_images(open_tree(tree), SIZE, cache, Progress()).images)
    (data,) = (cache / "decoded").glob("*.u8")
    manifest = data.with_suffix(".json")
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    match damage:
        case "flip":
            data.write_bytes(content)
        case "truncate":
            data.write_bytes(content[:-1])
        case "grow":
            data.write_bytes(content + b"x")
        case "manifest":
            manifest.write_text(manifest.read_text()[:-20])
        case "empty manifest":
            manifest.write_text("{}")
        case "no data":
            data.unlink()
    rebuilt = decoded_images(open_tree(tree), SIZE, cache, Progress())
    assert np.array_equal(rebuilt.images, before)
    (warning,) = caplog.messages
    assert warning.endswith("decoding them again")
    caplog.clear()
    assert np.array_equal(decoded_images(open_tree(tree), SIZE, cache, Progress()).images, before)
    assert caplog.records == []


def test_unreadable_images_are_zero_rows_until_they_can_be_read(
    tree: Path, cache: Path, open_tree: Callable
) -> None:
    name = open_tree(tree).records[3].name
    whole = (tree / name).read_bytes()
    (tree / name).write_bytes(whole[:60])
    found = decoded_images(open_tree(tree), SIZE, cache, Progress())
    assert list(found.unreadable) == [3]
    assert not found.images[3].any()
    assert found.images[2].any()
    assert decoded_images(open_tree(tree), SIZE, cache, Progress()).unreadable == found.unreadable
    # A temporary failure (such as of a network drive) without any change of the content.
    dataset = open_tree(tree)
    dataset.read = lambda record, size=None: decode(whole)  # type: ignore[method-assign]
    assert decoded_images(dataset, SIZE, cache, Progress()).unreadable == {}


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_interrupted_decoding_leaves_no_files_and_no_threads(
    tree: Path, cache: Path, open_tree: Callable, failure: type[BaseException]
) -> None:
    class Stops(Progress):
        @contextmanager
        def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
            def advance(count: int) -> None:
                raise failure

            yield advance

    with pytest.raises(failure):
        decoded_images(open_tree(tree), SIZE, cache, Stops())
    assert os.listdir(cache / "decoded") == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pneumo-data")]


def test_decoding_twice_at_the_same_time_gives_one_correct_cache(
    tree: Path, cache: Path, open_tree: Callable
) -> None:
    datasets = [open_tree(tree) for _ in range(4)]
    results = []

    def run(dataset: object) -> None:
        results.append(decoded_images(dataset, SIZE, cache, Progress()).images)  # type: ignore[arg-type]

    threads = [threading.Thread(target=run, args=(dataset,)) for dataset in datasets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(result, results[0]) for result in results)
    assert sorted(Path(name).suffix for name in os.listdir(cache / "decoded")) == [".json", ".u8"]


def test_a_full_disk_is_one_error_and_leaves_no_file(tree: Path, cache: Path, open_tree: Callable) -> None:
    dataset = open_tree(tree)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(PneumoError, match="cannot write decoded images") as caught:
            decoded_images(dataset, 64, cache, Progress())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 1
    assert os.listdir(cache / "decoded") == []


def test_a_cache_that_cannot_be_used_is_a_usage_error(tree: Path, cache: Path, open_tree: Callable) -> None:
    dataset = open_tree(tree)
    file = cache / "file"
    file.write_text("in the way")
    with pytest.raises(UsageError, match="choose another one with --cache or PNEUMO_CACHE"):
        decoded_images(dataset, SIZE, file, Progress())


def test_leftovers_of_killed_processes_are_removed_after_a_day(
    tree: Path, cache: Path, open_tree: Callable
) -> None:
    (cache / "decoded").mkdir(parents=True)
    old, young = cache / "decoded" / ".a.tmp", cache / "decoded" / ".b.tmp"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (0, 0))
    decoded_images(open_tree(tree), SIZE, cache, Progress())
    assert not old.exists()
    assert young.exists()


def test_the_manifest_names_dataset_and_shape(tree: Path, cache: Path, open_tree: Callable) -> None:
    dataset = open_tree(tree)
    decoded_images(dataset, SIZE, cache, Progress())
    (path,) = (cache / "decoded").glob("*.json")
    manifest = json.loads(path.read_text())
    assert manifest["fingerprint"] == dataset.fingerprint
    assert manifest["shape"] == [48, SIZE, SIZE]
