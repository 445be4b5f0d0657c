"""Add generated pages to the site: the configuration reference and files of the root.

Documents link to the sources (CHANGELOG.md, configs/, ...), so that the links also work where the
repository is read; on the site they lead to the pages that are made from the sources.
"""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from published import published_page
from reference import configuration_page

ROOT = Path(__file__).resolve().parents[2]
COPIED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
GENERATED = {"configs": "configuration.md", "fundus_cli/report/published.json": "published.md"}
PAGES = {**COPIED, **GENERATED, "README.md": "index.md"}
LINK = re.compile(r"\]\((?P<up>(?:\.\./)*)(?P<target>[^)#\s]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {"configuration.md": configuration_page(), "published.md": published_page()}
    for source, name in COPIED.items():
        pages[name] = (ROOT / source).read_text(encoding="utf-8")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links to sources at the pages that are made from them."""
    name = page.file.src_uri
    # Where the text lies in the repository: copied pages in the root, all others in docs/.
    depth = 0 if name in COPIED.values() else 1 + name.count("/")
    to_docs = "../" * name.count("/")

    def moved(link: re.Match[str]) -> str:
        levels, target = link["up"].count("../"), link["target"]
        if levels != depth:
            return link[0]
        if depth == 0 and target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target in PAGES:
            target = to_docs + PAGES[target]
        else:
            return link[0]
        return f"]({target}{link['anchor'] or ''})"

    return LINK.sub(moved, markdown)
