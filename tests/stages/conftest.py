"""Set-up that several test files of this room share."""

import pytest

from facemae_jax.stages import judges, teachers


@pytest.fixture(scope="session")
def built_release(tmp_path_factory):
    """The folder of a reconstruction that the judges of :mod:`budget_help` partly find, and its audit; each test has folders of its own in it."""
    from budget_help import build, toy_frozen

    with pytest.MonkeyPatch.context() as patch:
        for module in (judges, teachers):
            patch.setattr(module, "load_frozen", toy_frozen)
        return build(tmp_path_factory.mktemp("budget"))


@pytest.fixture(scope="module")
def toy_release(built_release):
    """The same, with these judges in place of recognizers."""
    from budget_help import toy_frozen

    with pytest.MonkeyPatch.context() as patch:
        for module in (judges, teachers):
            patch.setattr(module, "load_frozen", toy_frozen)
        yield built_release
