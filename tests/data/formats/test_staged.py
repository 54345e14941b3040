import pytest

from facemae_jax.data.formats.staged import staged_folder
from facemae_jax.types import FacemaeError


def test_it_is_there_whole_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "set"
    stale = tmp_path / "deep" / "set.partial"
    stale.mkdir(parents=True)
    (stale / "old").write_text("x")
    with pytest.raises(KeyboardInterrupt), staged_folder(out) as partial:
        assert partial == stale and not list(partial.iterdir())
        (partial / "half").write_text("x")
        raise KeyboardInterrupt
    assert not list((tmp_path / "deep").iterdir())
    with staged_folder(out) as partial:
        (partial / "whole").write_text("x")
        assert not out.exists()
    assert [file.name for file in out.iterdir()] == ["whole"] and not stale.exists()


def test_what_is_there_stays(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(FacemaeError, match="link: there is something already; name a new place"),
        staged_folder(tmp_path / "link"),
    ):
        pass
