"""The figures of a report, each drawn, written under a name of its own, and listed.

They are drawn together, on several cores. One that cannot be drawn costs a note and not the report: figures are
drawn by code of plugins too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pneumo_cli.errors import EXITS, Interrupted
from pneumo_cli.reports.figures import style
from pneumo_cli.reports.images import Picture, embedded
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.garbage import uncollected
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.side_by_side import SideBySide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.runs.folder import RunFolder


@dataclass(frozen=True)
class _Awaited:
    """A figure that is still to be drawn; ``entry`` is its place in the list, if it is listed."""

    draw: Callable[[], Figure]
    file: str
    plugin: str
    entry: dict[str, str] | None


class _NotDrawn(Exception):
    """Says which figure cannot be drawn, and why."""


class FigureFiles:
    """The figures that a report has so far.

    Args:
        folder: of the run or group.
        note: called with a sentence about a figure that cannot be drawn.
        for_print: write each figure also as PDF and at 300 dpi.

    Attributes:
        listed: ``report["figures"]``: file, caption, group, the alternative text where the figure has one, and the
            split if it is of one.
        pictures: the figures that have been drawn, as a page embeds them, by file.
    """

    def __init__(self, folder: RunFolder, note: Callable[[str], None], *, for_print: bool = False) -> None:
        self.listed: list[dict[str, str]] = []
        self.pictures: dict[str, Picture | None] = {}
        self._folder = folder
        self._note = note
        self._for_print = for_print
        self._taken: set[str] = set()
        self._awaited: list[_Awaited] = []

    def add(self, draw: Callable[[], Figure], stem: str, caption: str, group: str, **of: str) -> None:
        """List a figure, which :meth:`draw` draws and writes.

        Args:
            draw: makes the figure, perhaps in a copy of this process.
            stem: its path in the folder without ``.png``. If it is taken, a number is added.
            of: further entries of the list: the split, the ``alternative`` text (left out where it is empty), and
                the plugin whose figure it is, which a note names.
        """
        plugin = of.pop("plugin", "")
        further = {name: value for name, value in of.items() if value}
        file = f"{self._free(stem)}.png"
        entry = {"file": file, "caption": caption, "group": group, **further}
        self.listed.append(entry)
        self._awaited.append(_Awaited(draw, file, plugin, entry))

    def add_unlisted(self, draw: Callable[[], Figure], stem: str) -> None:
        """Have a figure drawn and written without listing it."""
        self._awaited.append(_Awaited(draw, f"{self._free(stem)}.png", "", None))

    def draw(self, processes: int = 1, progress: Progress | None = None) -> None:
        """Draw and write the figures that have been added; those that cannot be drawn are taken off the list.

        Args:
            processes: at most so many draw side by side.
            progress: where it is shown; its stage may raise to stop.

        Raises:
            OSError: a figure cannot be written.
        """
        awaited, self._awaited = self._awaited, []
        if not awaited:
            return
        pieces = [partial(self._drawn, one) for one in awaited]
        with (
            SideBySide[Picture | str | None](pieces, processes, _or_reason) as work,
            (progress or Progress()).stage("report", len(pieces), "figures") as advance,
        ):
            results = work.results(advance)
        for one, result in zip(awaited, results, strict=True):
            if not isinstance(result, str):
                self.pictures[one.file] = result
                continue
            self._note(result)
            if one.entry is not None:
                self.listed.remove(one.entry)

    def _drawn(self, one: _Awaited) -> Picture | None:
        """Draw and write one figure; returns it as a page embeds it, None if it is not listed."""
        try:
            with uncollected():  # the parts of a figure refer to each other
                figure = one.draw()
                picture = style.rendered(figure)
                prints = style.for_print(figure) if self._for_print else {}
                del figure
        except Interrupted:
            raise
        except (Exception, *EXITS) as error:
            name = one.file.rpartition("/")[2].removesuffix(".png")
            whose = f" of the plugin {one.plugin}" if one.plugin else ""
            text = " ".join(str(error).split())
            raise _NotDrawn(
                f"the figure {name}{whose} cannot be drawn: {type(error).__name__}: {text}"
            ) from None
        path = self._folder.path / one.file
        style.write(picture, path)
        for kind, content in prints.items():
            atomic.write_bytes(style.print_files(path)[kind], content)
        return embedded(self._folder.path, one.file) if one.entry is not None else None

    def _free(self, stem: str) -> str:
        """The stem, with a number if another figure has it."""
        free, number = stem, 2
        while free.casefold() in self._taken:
            free, number = f"{stem}-{number}", number + 1
        self._taken.add(free.casefold())
        return free


def drawing_processes(device: str = "cpu") -> int:
    """As many as there are CPU threads; one where figures may need an accelerator, which a copy cannot use.

    Args:
        device: the kind of device that the figures' data may lie on.
    """
    import torch

    return torch.get_num_threads() if device == "cpu" else 1


def _or_reason(piece: Callable[[], Picture | str | None]) -> Picture | str | None:
    """What a piece returns, or why there is no figure."""
    try:
        return piece()
    except _NotDrawn as reason:
        return str(reason)
