import pytest

from facemae_jax.chain import settings
from facemae_jax.types import FacemaeError


def test_overrides_take_the_type_of_the_field():
    given = [
        ("mae.mask_ratio", "0.5"),
        ("data.image_size", "64"),
        ("mae.remat", "true"),
        ("audit.judges", "teacher,onnx:/a b"),
        ("mae.optim.betas", "(0.8, 0.9)"),
        ("data.terms", "free"),
    ]
    config = settings.load("configs/base.py", given)
    assert config.mae.mask_ratio == 0.5
    assert config.data.image_size == 64
    assert config.mae.remat is True
    assert config.audit.judges == ("teacher", "onnx:/a b")
    assert config.mae.optim.betas == (0.8, 0.9)
    assert config.data.terms == "free"


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("mae.ratio", "1", "mae.mask_ratio"),
        ("irm_weight", "1", "mae.irm_weight"),
        ("mae", "1", "it is a section"),
        ("mae.optim.lr", "1", "learning_rate"),
        ("seed", "x", "a whole number"),
        ("mae.remat", "maybe", "true or false"),
        ("mae.optim.betas", "(a", "parted by commas"),
    ],
)
def test_a_wrong_override_names_field_and_way_out(field, value, expected):
    with pytest.raises(FacemaeError) as error:
        settings.load("configs/base.py", [(field, value)])
    assert f"--config.{field}" in str(error.value) and expected in str(error.value)


def test_unknown_file_lists_the_known_ones():
    with pytest.raises(FacemaeError, match="configs/demo.py"):
        settings.load("configs/nowhere.py")


def test_argument_after_the_colon(tmp_path):
    assert settings.load("configs/celeba_lfw.py:cpu").recognizer.network == "cpu"
    with pytest.raises(FacemaeError, match="choose gpu or cpu"):
        settings.load("configs/celeba_lfw.py:toaster")
    with pytest.raises(FacemaeError, match="takes no argument"):
        settings.load("configs/base.py:cpu")


def test_a_config_from_elsewhere_builds_on_ours(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from configs import base\n\ndef get_config():\n    c = base.get_config()\n    c.seed = 7\n    return c\n"
    )
    monkeypatch.chdir(tmp_path)
    assert settings.load("mine.py").seed == 7


def test_a_failing_config_is_told_in_one_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(FacemaeError, match="ZeroDivisionError"):
        settings.load(str(tmp_path / "broken.py"))


def test_every_field_has_a_comment_and_the_config_is_locked():
    config = settings.load("configs/base.py")
    assert config.is_locked
    fields, said = settings.flat(config), settings.comments()
    assert set(fields) == set(said)
