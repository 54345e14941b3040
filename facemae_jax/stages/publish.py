"""The release: the reconstruction as a TFDS face set, its card, and nothing else. The only thing meant to leave the workdir.

Records are copied, never encoded again. Before the directory appears, every text in it is searched for names, keys and paths of the
source. The same reconstruction and figures give the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, FaceSetWriter
from facemae_jax.data.variants import SET
from facemae_jax.export.card import card_text
from facemae_jax.stages import publish_budget, publish_search
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces
from facemae_jax.stages.publish_budget import REPAINTED, Kept, keep_within
from facemae_jax.stages.publish_facts import facts_of, metadata_of
from facemae_jax.types import FacemaeError

VERB = "publish"
VERSION = 1
ALONE = True  # the first process does it, the others wait
SUMMARY = "write the release: a TFDS face set and its card, after a search for names and paths"
FIELDS = {
    "": (
        "publish", "data.terms", "data.image_size", "data.seen_share", "data.split_seed", "reconstruct", "mae.mask_ratio", "mae.visible",
        "mae.mask_focus", "mae.patch", "recognizer.network", "recognizer.optim.epochs", "recognizer.optim.batch", "recognizer.optim.learning_rate",
        "distort", *publish_search.FIELDS,
    )
}  # fmt: skip
# Where people's own files lie: looked for in what leaves.
PLACES = (
    "data.seen", "data.unseen", "data.landmarks", "verify.faces", "verify.pairs", "verify.groups", "verify.protocols", "recognizer.variants",
)  # fmt: skip
UNHASHED = (*PLACES, *publish_search.UNHASHED)
RELEASE = "release"  # the folder that leaves; its place is what readers call data_dir
SHORTEST_NAME = 4  # bytes of UTF-8: shorter names occur in ordinary words; a Chinese one has three bytes a character


def variants(config: Any) -> tuple[str, ...]:
    """One release."""
    return ("",)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """The reconstruction, what was measured on it, the MAE, the faces whose names must not appear, and the judges of a budget."""
    found = {
        "reconstruct": Ref("reconstruct"),
        "audit": Ref("audit"),
        "mae": Ref("train-mae"),
        "faces": faces_ref(config, config.reconstruct.subset),
    }
    found |= {"verify": Ref("verify")} if config.verify.faces else {}
    return found | publish_budget.reads(config)


def outside(config: Any, variant: str) -> dict[str, str]:
    """The secret, to seal fingerprints with; judges of a budget that are from outside."""
    return {"secret": "private/secret"} | publish_budget.outside(config)


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Write ``release/NAME/VERSION`` with its ``card.md``; what else lies in ``out`` is the chain's, and stays."""
    made = json.loads((inputs["reconstruct"].path / "reconstruct.json").read_text())
    _check_allowed(config, made)
    try:
        kept = keep_within(config, inputs, out)
    except FacemaeError:
        shutil.rmtree(out / REPAINTED, ignore_errors=True)
        if (out / RELEASE).exists():
            shutil.rmtree(out / RELEASE)  # nothing that an earlier attempt left may look like a release
        raise
    facts = facts_of(config, inputs, made, kept)
    card = card_text(facts)
    p = config.publish
    metadata = metadata_of(config, inputs, facts, made)
    written = [p.name, p.description, config.data.terms, *(judge["name"] for judge in facts["audit"]["judges"])]
    check_no_names(
        card + json.dumps(metadata, ensure_ascii=False),
        "\n".join(written),
        pick_faces(config, inputs["faces"], config.reconstruct.subset),
        _places(config),
    )
    _write(config, kept, made, facts["description"], metadata, card, out / RELEASE / p.name / p.version)
    shutil.rmtree(out / REPAINTED, ignore_errors=True)
    logs.say(
        f"publish: {len(kept.faces):,} images in {out.name}/{RELEASE}/{p.name}/{p.version}, with card.md; only {RELEASE}/ is meant to leave"
    )
    return dict(
        name=p.name, version=p.version, images=len(kept.faces), identities=facts["identities"], budget=kept.told
    )


def _write(
    config: Any, kept: Kept, made: dict[str, Any], description: str, metadata: dict[str, Any], card: str, version: Path
) -> None:
    """The face set, and its card last; what a killed attempt has written stays."""
    if (version / "card.md").is_file():
        return
    shutil.rmtree(version, ignore_errors=True)  # a finished face set without its card: killed in between
    size, count = config.reconstruct.shard_records, len(kept.faces)
    writer = FaceSetWriter(
        version, name=config.publish.name, image_size=made["image_size"], encoding=config.reconstruct.encoding,
        shard_records=size, formats=config.publish.formats, description=description, metadata=metadata,
        num_labels=made["identities"], index=False,
    )  # fmt: skip
    with logs.progress(count, "publish") as bar:
        for shard in range(-(-count // size)):
            places = range(shard * size, min((shard + 1) * size, count))
            if not writer.shard_done(shard):
                writer.write_shard(shard, map(kept.record, places))
            bar.update(len(places))
    writer.finish(count)
    partial = version / ".card.md.partial"
    partial.write_text(card, encoding="utf-8")
    os.replace(partial, version / "card.md")


def _check_allowed(config: Any, made: dict[str, Any]) -> None:
    if made["composition"] == "paste" and not config.publish.allow_real_pixels:
        raise FacemaeError(
            f"this reconstruction holds {100 * made['real_pixel_share']:.0f} % real pixels (reconstruct.composition=paste): "
            "publish it with --config.publish.allow_real_pixels=True, or reconstruct with composition=full."
        )
    synthetic = {config.data.seen, config.data.unseen} <= {"synthetic", ""}
    if not synthetic and not config.data.terms.strip():
        raise FacemaeError(
            "data.terms is empty: say under which terms the source faces may be used; a release carries them."
        )


def _places(config: Any) -> list[str]:
    """Every path of :data:`PLACES`; words such as ``synthetic`` and names of variants are none."""
    d, v = config.data, config.verify
    given = [d.seen, d.unseen, d.landmarks, v.faces, v.pairs, v.groups, *config.recognizer.variants]
    given += [place for protocol in v.protocols.values() for place in protocol.values()]
    return [text.removeprefix(SET) for text in given if "/" in text]


def check_no_names(text: str, written: str, faces: FaceSet, places: Iterable[str] = ()) -> None:
    """No name of four letters or more, no key and no path of the source may stand in what leaves.

    Args:
        text: all of it.
        written: what people wrote of it. Names that are plain words are looked for in this part alone: somebody's folder may
            be called ``mask`` or ``train``, as the card's own sentences are.
        faces: the source. A folder that all its people lie in is nobody's name.
        places: further paths.

    Raises:
        FacemaeError: with the number of finds, not the finds: an error message may be shared too.
    """
    names = faces.identity_names
    common = set.intersection(*(set(name.split("/")) for name in names)) if len(names) > 1 else set()
    parts = {part for name in names for part in (name, *name.split("/"))} - common
    parts |= {part.replace("_", " ") for part in parts}
    folded = {_folded(part) for part in parts | set(faces.keys()) | {str(faces.path), *places}}
    hidden = {part for part in folded if len(part.encode()) >= SHORTEST_NAME and not part.isdigit()}
    words = {part for part in hidden if part.isascii() and part.isalpha()}
    text, said = _folded(text), set(re.findall(r"[^\W\d_]+", _folded(written)))
    found = sum(part in text for part in hidden - words) + len(words & said)
    if found:
        raise FacemaeError(
            f"the card or the metadata would carry {found} name(s) of the source: look for them in publish.description, publish.name, "
            "data.terms and the file names of judges."
        )


def _folded(text: str) -> str:
    """Without regard to case and Unicode form: a name typed is not always stored in the same bytes."""
    return unicodedata.normalize("NFKC", text).casefold()
