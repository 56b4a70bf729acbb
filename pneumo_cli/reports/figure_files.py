"""The figures of a report, each drawn, written under a name of its own, and listed.

One that cannot be drawn costs a note and not the report: figures are drawn by code of plugins too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pneumo_cli.errors import EXITS, Interrupted
from pneumo_cli.reports.figures import style
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.garbage import uncollected

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.runs.folder import RunFolder


class FigureFiles:
    """The figures that a report has so far.

    Args:
        folder: of the run or group.
        note: called with a sentence about a figure that cannot be drawn.
        for_print: write each figure also as PDF and at 300 dpi.

    Attributes:
        listed: ``report["figures"]``: file, caption, group, the alternative text where the figure has one, and the
            split if it is of one.
    """

    def __init__(self, folder: RunFolder, note: Callable[[str], None], *, for_print: bool = False) -> None:
        self.listed: list[dict[str, str]] = []
        self._folder = folder
        self._note = note
        self._for_print = for_print
        self._taken: set[str] = set()

    def add(self, draw: Callable[[], Figure], stem: str, caption: str, group: str, **of: str) -> None:
        """Draw a figure, write it and list it.

        Args:
            draw: makes the figure.
            stem: its path in the folder without ``.png``. If it is taken, a number is added.
            of: further entries of the list: the split, the ``alternative`` text (left out where it is empty), and
                the plugin whose figure it is, which a note names.

        Raises:
            OSError: it cannot be written.
        """
        plugin = of.pop("plugin", "")
        if file := self.write(draw, stem, plugin):
            further = {name: value for name, value in of.items() if value}
            self.listed.append({"file": file, "caption": caption, "group": group, **further})

    def write(self, draw: Callable[[], Figure], stem: str, plugin: str = "") -> str:
        """Draw and write a figure without listing it; returns its file, empty if it cannot be drawn."""
        try:
            with uncollected():  # the parts of a figure refer to each other
                figure = draw()
                picture = style.rendered(figure)
                prints = style.for_print(figure) if self._for_print else {}
                del figure
        except Interrupted:
            raise
        except (Exception, *EXITS) as error:
            name, whose = stem.rpartition("/")[2], f" of the plugin {plugin}" if plugin else ""
            text = " ".join(str(error).split())
            self._note(f"the figure {name}{whose} cannot be drawn: {type(error).__name__}: {text}")
            return ""
        file = f"{self._free(stem)}.png"
        path = self._folder.path / file
        style.write(picture, path)
        for kind, content in prints.items():
            atomic.write_bytes(style.print_files(path)[kind], content)
        return file

    def _free(self, stem: str) -> str:
        """The stem, with a number if another figure has it."""
        free, number = stem, 2
        while free.casefold() in self._taken:
            free, number = f"{stem}-{number}", number + 1
        self._taken.add(free.casefold())
        return free
