"""The published figures that reports compare with, as a page."""

import json
from importlib import resources

REGIONS = {"fov": "field of view", "whole": "whole image", None: "not stated"}
AGGREGATIONS = {"pooled": "pixels pooled", "mean": "mean over images", None: "not stated"}
INTRODUCTION = """# Published figures

Dice of vessels as others have published it. A report compares a run with these figures only where
the data set and its split are the same, and then scores the run in the region and with the
aggregation of each figure. The whole image instead of the field of view changes Dice by at most
.0013, but AUC by +.002 to +.006; pooling pixels gives .003 to .005 more than the mean over images
on HRF and STARE, and less than .001 more on CHASE_DB1.
"""


def published_page() -> str:
    """The page as Markdown."""
    text = (resources.files("fundus_cli.report") / "published.json").read_text(encoding="utf-8")
    lines = [INTRODUCTION]
    for name, of_set in json.loads(text)["sets"].items():
        lines += [f"## {of_set['title']}", "", f"`data={name}`", ""]
        lines += ["| network | Dice | region | aggregation | threshold | source |"]
        lines += ["|---|---|---|---|---|---|"]
        for row in sorted(of_set["rows"], key=lambda row: -row["dice"]):
            lines.append(
                f"| {row['name']} | {row['dice']:.3f} | {REGIONS[row['region']]} | "
                f"{AGGREGATIONS[row['aggregation']]} | {row['threshold'] or 'not stated'} | "
                f"{row['source']} |"
            )
        lines.append("")
    return "\n".join(lines)
