"""The card of an exported set in the form of the Hugging Face hub: ``README.md`` with YAML before the text. Plain values in, text out.

A release brings its own card (``card``), which goes in whole; another set has a short one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

FILE = "README.md"
SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip
PLAIN = """\
# {name}

{images:,} face crops of {identities:,} people ({smallest} to {largest} each), {size}.

{warning}

## Terms

{terms}
"""
REAL = (
    "**These may be photographs of real people.** They were exported from an imported set, and nothing in them is protected: names and paths "
    "{names}; the faces can be recognized. Give the set to nobody who may not have its source."
)
PAINTED = (
    "**Painted, but not audited.** This is a reconstruction before `publish`: how far its images can be traced back was not measured for it. Only "
    "a release is meant for others."
)
UNKNOWN = "Those of the source; they are not known here."


def front_matter(*, name: str, images: int, licence: bool, files: str) -> str:
    """The YAML that the hub reads.

    Args:
        name: of the set, for people.
        images: how many.
        licence: whether the terms are known (they stand in the text).
        files: glob of the data files for its viewer, or "" where it finds them itself.
    """
    size = next((text for limit, text in SIZES if images < limit), "n>1B")
    lines = [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",  # a JSON string is a YAML string
        *(["license: other", "license_name: terms-of-the-source-faces", "license_link: README.md"] if licence else ["license: unknown"]),
        "task_categories:",
        "- image-classification",
        "tags:",
        "- face-recognition",
        "size_categories:",
        f"- {size}",
    ]  # fmt: skip
    if files:
        lines += [
            "configs:",
            "- config_name: default",
            "  data_files:",
            "  - split: train",
            f"    path: {json.dumps(files)}",
        ]
    return "\n".join([*lines, "---", ""])


def card_of(facts: Mapping[str, Any], form: Mapping[str, str], own: str = "") -> str:
    """The whole file.

    Args:
        facts: name, images, identities, smallest, largest (images of one person), image_size (0: varying), names, sealed, terms ("" unknown).
        form: ``files`` as in :func:`front_matter`; ``said``: what the files are and how one reads them, in Markdown.
        own: the card of a release, "" for other sets.
    """
    head = front_matter(
        name=facts["name"], images=facts["images"], licence=bool(facts["terms"]), files=form["files"]
    )  # fmt: skip
    size = f"{facts['image_size']}×{facts['image_size']} pixels" if facts["image_size"] else "of varying size"
    kept = "go along" if facts["names"] else "were left out"
    warning = PAINTED if facts["sealed"] else REAL.format(names=kept)
    plain = PLAIN.format(**{**facts, "size": size, "warning": warning, "terms": facts["terms"] or UNKNOWN})
    return f"{head}\n{(own or plain).rstrip()}\n\n## Files\n\n{form['said'].rstrip()}\n"
