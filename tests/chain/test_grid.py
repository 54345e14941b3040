"""From the text of a grid to its points."""

import pytest

from facemae_jax.chain import grid, settings
from facemae_jax.types import FacemaeError


@pytest.fixture
def config():
    return settings.load("configs/demo.py")


def test_every_combination_in_the_types_of_the_fields_the_last_changing_fastest(config):
    axes = grid.read_grid("mae.mask_ratio=0.5,0.75 ; seed=0,1,2;", config)
    found = grid.points(axes)
    assert [(p["mae.mask_ratio"], p["seed"]) for p in found] == [(r, s) for r in (0.5, 0.75) for s in (0, 1, 2)]
    assert all(type(p["mae.mask_ratio"]) is float and type(p["seed"]) is int for p in found)
    assert [axis.repeats for axis in axes] == [False, True]
    assert grid.read_grid("mesh.fsdp=1;report.images=3".split(";")[0], config)[0].steps == ((1,),)


def test_values_with_commas_stand_in_brackets(config):
    (axis,) = grid.read_grid("recognizer.variants=(original,mask),[original],('blur','mask')", config)
    assert [step[0] for step in axis.steps] == [("original", "mask"), ("original",), ("blur", "mask")]
    (axis,) = grid.read_grid("mae.optim.betas=(0.9,0.95),(0.8,0.9)", config)
    assert [step[0] for step in axis.steps] == [(0.9, 0.95), (0.8, 0.9)]


def test_fields_joined_by_plus_change_together(config):
    axes = grid.read_grid("mae.width+mae.heads=(64,2),(128,4);seed=0,1", config)
    assert [tuple(p.values()) for p in grid.points(axes)] == [(64, 2, 0), (64, 2, 1), (128, 4, 0), (128, 4, 1)]
    assert not axes[0].repeats
    assert grid.read_grid("seed+synthetic.seed=(0,0),(1,1)", config)[0].repeats
    (axis,) = grid.read_grid("recognizer.variants+audit.variants=((original,mask),(mask)),((blur),(blur))", config)
    assert axis.steps[0] == (("original", "mask"), ("mask",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mae.mask_rato=0.5", "did you mean mae.mask_ratio"),
        ("mae=0.5", "it is a section"),
        ("seed=0,x", "expected a whole number"),
        ("mae.mask_ratio=", "is no field with its values"),
        ("mae.mask_ratio", "is no field with its values"),
        ("seed=0,,1", "is no field with its values"),
        (" ; ", "--grid is empty"),
        ("seed=0,1,0", "are called 0"),
        ("seed=0;seed=1", "seed stands twice"),
        ("recognizer.variants=(original,mask", "a bracket has no partner"),
        ("recognizer.variants=original)", "a bracket has no partner"),
        ("mae.width+mae.heads=(64,2,1)", "each value is 2 in brackets"),
        ("mae.width+mae.heads=64,2", "each value is 2 in brackets"),
        ("publish.version=1.0.0,2.0.0", "changes nothing that a sweep measures"),
        ("report.images=1,2", "changes nothing that a sweep measures"),
        ("audit.judges=(onnx:/a/m.onnx),(onnx:/b/m.onnx)", "rename its file"),
    ],
)
def test_a_wrong_grid_is_told_in_one_sentence(config, text, said):
    with pytest.raises(FacemaeError, match="^--") as error:
        grid.read_grid(text, config)
    assert said in str(error.value)


def test_one_field_is_not_set_in_two_ways(config):
    with pytest.raises(FacemaeError, match="both set seed"):
        grid.read_grid("seed=0,1", config, ("mae.patch", "seed"))


def test_places_are_not_shown():
    assert grid.shown("onnx:/home/somebody/m.onnx") == "onnx:m.onnx"
    assert grid.shown("/faces/celeba112.zip") == "celeba112.zip" and grid.shown("faces/x/") == "x"
    assert grid.shown(("teacher", "checkpoint:/a/b")) == "(teacher, checkpoint:b)"
    assert (grid.shown(0.5), grid.shown("cosine"), grid.shown("train"), grid.shown(())) == (
        "0.5",
        "cosine",
        "train",
        "()",
    )


def test_a_point_leaves_the_config_it_came_from_alone(config):
    changed = grid.with_values(config, {"mae.mask_ratio": 0.5, "seed": 3})
    assert (changed.mae.mask_ratio, changed.seed) == (0.5, 3)
    assert (config.mae.mask_ratio, config.seed) == (0.75, 0)
    assert changed.is_locked
