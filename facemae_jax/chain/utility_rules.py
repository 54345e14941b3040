"""Which values of ``recognizer.variants``, ``audit.variants`` and ``verify`` contradict each other: part of ``chain.rules``."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from facemae_jax.data.formats.verification_bin import is_bin
from facemae_jax.data.variants import SET, parse_variant
from facemae_jax.stages import verify_protocols
from facemae_jax.types import FacemaeError

FORM = f"{SET}PATH"


def check_variant(field: str, variant: str) -> None:
    """One entry of ``recognizer.variants`` or ``audit.variants``.

    Raises:
        FacemaeError: no such variant, or a set from elsewhere where originals are attacked.
    """
    trained = field == "recognizer.variants"
    if variant.startswith(SET):
        if not trained:
            raise FacemaeError(
                f"--config.{field}={variant}: a set from elsewhere has no originals here that could be found again; leave it out, "
                "and name it in recognizer.variants alone."
            )
        if not variant.removeprefix(SET).strip("/ "):
            raise FacemaeError(
                f"--config.{field}={variant}: name a folder, a zip or a face set directory, as in {FORM}."
            )
        return
    try:
        parse_variant(variant, others=("reconstruction", FORM) if trained else ("reconstruction",))
    except FacemaeError as error:
        raise FacemaeError(f"--config.{field}={error}") from None


def check_verify(c: ConfigDict) -> None:
    """The fields of ``verify`` together.

    Raises:
        FacemaeError: one sentence on the first fault.
    """
    if c.verify.pairs != "generated" and c.verify.faces == "synthetic":
        raise FacemaeError(
            f"--config.verify.pairs={c.verify.pairs} names real faces, but verify.faces is synthetic: give verify.faces their folder or zip."
        )
    if is_bin(c.verify.faces) and c.verify.pairs not in ("generated", c.verify.faces):
        raise FacemaeError(
            f"--config.verify.pairs={c.verify.pairs}: verify.faces={c.verify.faces} has pairs of its own and no names that a list could mean: "
            "leave verify.pairs as it is."
        )
    if c.verify.groups and not c.verify.faces:
        raise FacemaeError(
            f"--config.verify.groups={c.verify.groups}: verify.faces is empty, so that nobody is verified: name faces, or leave groups empty."
        )
    for name in verify_protocols.NAMES:
        _check_protocol(c, f"verify.protocols.{name}", c.verify.protocols[name])


def _check_protocol(c: ConfigDict, field: str, asked: Any) -> None:
    given = {leaf: value for leaf, value in asked.items() if value}
    if not given:
        return
    for leaf in asked:
        if leaf not in given and not (leaf == "pairs" and is_bin(asked.faces)):
            raise FacemaeError(
                f"--config.{field}.{leaf} is empty, but {field}.{next(iter(given))} is given: name both, or neither."
            )
    if asked.faces == "synthetic":
        raise FacemaeError(
            f"--config.{field}.faces=synthetic: this protocol has faces of its own; name their folder, zip or face set directory."
        )
    if not c.verify.faces:
        raise FacemaeError(
            f"--config.{field}.faces={asked.faces}: protocols are measured beside the main pairs, but verify.faces is empty: "
            f"name faces there, such as synthetic, or leave {field} empty."
        )


def check_judge(c: ConfigDict, judge: str) -> None:
    """That a recognizer which judges is trained in this chain, on faces of this chain.

    Raises:
        FacemaeError: it is not.
    """
    variant = judge.removeprefix("recognizer:")
    if variant == judge:
        return
    if variant.startswith(SET):
        raise FacemaeError(
            f"--config.audit.judges={judge}: a recognizer trained on a set from elsewhere judges by its weights: train it, and name "
            "checkpoint:DIR with its directory."
        )
    if c.recognizer.faces or variant not in c.recognizer.variants:
        raise FacemaeError(
            f"--config.audit.judges: {judge} needs {variant} among recognizer.variants ({', '.join(c.recognizer.variants)})."
        )
