"""How far real training faces are ahead on one protocol, recognizer by recognizer: the headline figure of each, and its Gap-to-Real.

Rows are what ``metrics.verification.verification`` and ``metrics.templates.template_verification`` give, with ``name`` and ``kind``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facemae_jax.metrics.verification import gap_to_real

REAL = "original"  # the recognizer trained on the real faces themselves
HEADLINE = "0.0001"  # FAR at which papers give the TAR of IJB-B and IJB-C


def headline(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """What a row is judged by, and its standard error (None where there is none).

    The accuracy on pairs; on templates the TAR at FAR 1e-4, None where too few pairs support that rate.
    """
    if "accuracy" in row:
        return row["accuracy"]["mean"], row["accuracy"]["standard_error"]
    return row["tar_at_far"].get(HEADLINE), None


def gaps(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Gap-to-Real of every recognizer but the one trained on real faces; empty where there is no such one.

    A recognizer without a headline figure, or with 0, has no gap, as all have none where real faces have no figure. Teacher and
    judges are not trained by the recipe, and have none.
    """
    trained = {row["name"]: headline(row)[0] for row in rows if row["kind"] == "recognizer"}
    real = trained.pop(REAL, None)
    return {} if real is None else {name: gap_to_real(real, value) for name, value in trained.items() if value}
