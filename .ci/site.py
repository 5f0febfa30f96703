"""The documentation site's links: pages of the repository's root join in, links to sources lead to the repository."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = "https://github.com/fastconv/fastconv/blob/main/"
PICTURES = "https://raw.githubusercontent.com/fastconv/fastconv/main/"
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the repository's root, and what they are called on the site."""

_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Adds the root's pages to those of docs/."""
    for name, page in ROOT_PAGES.items():
        with open(name, encoding="utf-8") as file:
            files.append(File.generated(config, page, content=site_links(file.read(), "")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns a page of docs/ with its links as the site needs them."""
    return markdown if page.file.src_uri in ROOT_PAGES.values() else site_links(markdown, "docs")


def site_links(markdown: str, folder: str) -> str:
    """Returns a text of ``folder`` whose links lead to pages of the site, or else to the repository."""

    def moved(link: re.Match[str]) -> str:
        before, target, part, after = link[1], link[2], link[3] or "", link[4]
        for address in (REPOSITORY, PICTURES):
            if target.startswith(address):
                target = posixpath.relpath(target.removeprefix(address), folder or ".")
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in ROOT_PAGES:
            return f"{before}{ROOT_PAGES[path]}{part}{after}"
        if path.startswith("docs/"):
            return f"{before}{path.removeprefix('docs/')}{part}{after}"
        return f"{before}{REPOSITORY}{path}{part}{after}"

    return _LINK.sub(moved, markdown)
