"""Add generated pages to the site: the configuration reference and files of the root."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from reference import configuration_page, published_page

ROOT = Path(__file__).resolve().parents[2]
COPIED = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; links between root files and docs/ are made relative to docs/."""
    pages = {"configuration.md": configuration_page(), "published.md": published_page()}
    for name, source in COPIED.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, target in COPIED.items():
            text = text.replace(f"]({target})", f"]({other})")
        pages[name] = text.replace("](README.md)", "](index.md)").replace(
            "](LICENSE)", "](https://opensource.org/license/mit)"
        )
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files
