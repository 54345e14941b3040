import copy
import re

from facemae_jax.export.card import card_text, percent

FACTS = dict(
    name="toy_faces",
    version="1.2.0",
    description="Faces for testing.",
    images=1234,
    identities=100,
    images_per_identity=dict(min=2, median=12.5, max=31),
    real_pixel_share=0.0,
    terms="Research only; see LICENSE-FACES.",
    made={"mask": "49 of 196 patches visible", "composition": "full", "loss weights": "pixel 1, irm 2"},
    audit=dict(
        subset="unseen",
        queries=300,
        gallery=1000,
        judges=[
            dict(
                name="teacher",
                independent=False,
                reason="it is the teacher itself",
                chance_image=0.001,
                chance_identity=0.0123,
                rows=[
                    dict(variant="original", same_image=1.0, same_identity=0.905),
                    dict(variant="reconstruction", same_image=0.25, same_identity=0.125),
                ],
            ),
            dict(
                name="judge",
                independent=True,
                reason="weights from outside",
                chance_image=0.001,
                chance_identity=None,
                rows=[dict(variant="reconstruction", same_image=0.0404, same_identity=None)],
            ),
        ],
    ),
    utility=dict(
        recipe="iresnet18, 60 epochs, batch 256, learning rate 0.1",
        pairs=2000,
        folds=10,
        rows=[
            dict(name="original", accuracy=0.9512, standard_error=0.0031),
            dict(name="reconstruction", accuracy=0.9, standard_error=0.004),
        ],
    ),
    software=dict(jax="0.10.2", flax="0.12.8"),
)


def tables(text):
    """Rows of every Markdown table, as lists of cells."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def section(text, heading):
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].strip()


def test_what_it_is():
    text = card_text(FACTS)
    assert text.startswith("# toy_faces 1.2.0\n\nFaces for testing.\n\n") and text.endswith("\n")
    assert "1,234 images of 100 people (2 to 31 each, median 12.5)." in text
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "How it was made",
        "Privacy: what was measured",
        "Utility",
        "What is not promised",
        "Terms of the source faces",
        "Software",
        "Citation",
    ]


def test_how_it_was_made_terms_and_software():
    text = card_text(FACTS)
    for line in ("- mask: 49 of 196 patches visible", "- composition: full", "- loss weights: pixel 1, irm 2"):
        assert line in section(text, "How it was made").splitlines()
    assert section(text, "Terms of the source faces") == FACTS["terms"]
    assert section(text, "Software") == "jax 0.10.2, flax 0.12.8"
    assert "arXiv 2205.11090" in section(text, "Citation")


def test_real_pixels_are_said_loudly():
    assert "**No pixel is copied from a source image.**" in card_text(FACTS)
    text = card_text(FACTS | dict(real_pixel_share=0.25))
    assert "**25.0 % of the pixels are copied from the source images.**" in text and "No pixel is copied" not in text


def test_every_judge_has_its_rows_its_blind_guess_and_its_independence():
    text = section(card_text(FACTS), "Privacy: what was measured")
    assert "300 protected images searched 1,000 originals" in text
    head, _, *rows = tables(text)
    assert head == ["judge", "independent of the teacher", "variant", "same image", "same identity"]
    assert rows == [
        ["teacher", "no", "original", "100.0", "90.5"],
        ["teacher", "no", "reconstruction", "25.0", "12.5"],
        ["teacher", "no", "*blind guess*", "0.1", "1.2"],
        ["judge", "yes", "reconstruction", "4.0", "–"],
        ["judge", "yes", "*blind guess*", "0.1", "–"],
    ]
    assert "- teacher: it is the teacher itself." in text and "- judge: weights from outside." in text


def test_utility_names_recipe_pairs_and_control():
    text = section(card_text(FACTS), "Utility")
    assert f"({FACTS['utility']['recipe']})" in text and "2,000 pairs of other people (10 folds)" in text
    assert "`original` is the real-data control" in text
    assert tables(text)[2:] == [["original", "95.12", "0.31"], ["reconstruction", "90.00", "0.40"]]
    bare = section(card_text(FACTS | dict(utility=None)), "Utility")
    assert bare == "Not measured: no faces to verify on were given." and not tables(bare)


def test_limits_are_always_stated():
    for facts in (FACTS, FACTS | dict(utility=None), FACTS | dict(real_pixel_share=0.25)):
        limits = section(card_text(facts), "What is not promised")
        assert "no formal guarantee" in limits and "number of people (100)" in limits and "recognized in it" in limits


def test_missing_figures_are_dashes():
    assert percent(None) == "–" and percent(0.12345) == "12.3" and percent(0.0) == "0.0"
    assert not re.search(r"\b(None|nan)\b", card_text(FACTS))


def test_plain_values_in_the_same_text_out():
    kept = copy.deepcopy(FACTS)
    assert card_text(FACTS) == card_text(copy.deepcopy(FACTS)) and kept == FACTS
