import pytest
import yaml  # comes with flax and ml-collections

from facemae_jax.export.set_card import card_of

FACTS = dict(
    name='toy: "faces"', images=1234, identities=100, smallest=2, largest=31, image_size=112, names=False, sealed=False, terms=""
)  # fmt: skip
FORM = {"files": "*.tar", "said": "Tar shards."}


def parts(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_front_matter():
    head, _ = parts(card_of(FACTS, FORM))
    assert (
        head["pretty_name"] == 'toy: "faces"'
        and head["license"] == "unknown"
        and head["size_categories"] == ["1K<n<10K"]
    )
    assert head["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}]
    head, _ = parts(card_of(FACTS | {"terms": "Research only.", "images": 2_000_000_000}, FORM | {"files": ""}))
    assert head["license"] == "other" and "configs" not in head and head["size_categories"] == ["n>1B"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ["1,234 face crops of 100 people (2 to 31 each), 112×112 pixels", "photographs of real people", "were left out", "not known here"]),
        (dict(names=True), ["go along"]),
        (dict(sealed=True), ["not audited"]),
        (dict(image_size=0, terms="Research only."), ["of varying size", "Research only."]),
    ],
)  # fmt: skip
def test_a_short_card(changes, said):
    _, body = parts(card_of(FACTS | changes, FORM))
    assert all(text in body for text in said) and body.endswith("## Files\n\nTar shards.\n")
    assert ("photographs" in body) != bool(changes.get("sealed"))


def test_a_release_brings_its_own():
    _, body = parts(card_of(FACTS, FORM, "# own\n\nText.\n"))
    assert body == "\n# own\n\nText.\n\n## Files\n\nTar shards.\n"
