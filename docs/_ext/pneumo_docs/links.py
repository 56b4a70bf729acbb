"""Links as GitHub resolves them, rewritten for the site: READMEs and examples are pages of the reference there."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import PurePosixPath

from pneumo_docs import REPOSITORY

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^(\s*)(```+|~~~+)")
_PAGES = {
    "README.md": "docs/index.md",
    "CHANGELOG.md": "docs/project/changelog.md",
    "CONTRIBUTING.md": "docs/project/contributing.md",
    "SECURITY.md": "docs/project/security.md",
    "pneumo_cli/plugins/hookspecs.py": "docs/reference/hooks.md",
    "pneumo_cli/plugins/registration.py": "docs/reference/hooks.md",
}
"""The pages of the site for files of the repository."""
_FOLDERS = re.compile(r"(plugins|examples)/(pneumo-[\w-]+)(?:/README\.md)?")


def page_of(path: str) -> str:
    """The page of the site, as a path below the repository's root, for a file of the repository."""
    if found := _FOLDERS.fullmatch(path):
        return f"docs/reference/{found[1]}/{found[2]}.md"
    return _PAGES.get(path, path)


def for_site(text: str, origin: str, folder: str) -> str:
    """Rewrite the relative links of a Markdown text, or of a notebook.

    Args:
        text: its links are relative to the folder ``origin``, as GitHub resolves them.
        origin: a folder below the repository's root, as a POSIX path.
        folder: of the page that shows the text.

    Returns:
        the text with links to pages of the site, or to files, which the site offers as downloads. Of a link to a
        folder that is no page, the text remains.
    """
    lines, fence = [], ""
    for line in text.split("\n"):
        if found := _FENCE.match(line):
            mark = found[2]
            if not fence:
                fence = mark
            elif mark.startswith(fence) and not line.strip().strip("`~"):
                fence = ""
        lines.append(line if fence else _LINK.sub(lambda link: _rewritten(link, origin, folder), line))
    return "\n".join(lines)


def _rewritten(link: re.Match[str], origin: str, folder: str) -> str:
    name, mark, anchor = link["target"].partition("#")
    if not name or re.match(r"[a-z]+:", name):
        return link[0]
    path = posixpath.normpath(posixpath.join(origin, name))
    page = page_of(path)
    if page == path and (REPOSITORY / path).is_dir():
        return link["text"]
    if page == _PAGES["README.md"]:
        mark = anchor = ""  # the first page of the site has other headings
    target = PurePosixPath(os.path.relpath(page, folder)).as_posix()
    text = for_site(link["text"], origin, folder)  # an image within a link
    return f"{link['image']}[{text}]({target}{mark}{anchor})"
