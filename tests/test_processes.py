"""With one process; with several: tests/chain/test_several_processes.py."""

import pytest

from facemae_jax import processes
from facemae_jax.types import FacemaeError


def test_alone_there_is_nobody_to_wait_for():
    assert processes.first()
    assert processes.everywhere(True) and not processes.everywhere(False)
    processes.barrier("returns at once")
    processes.join("")
    processes.leave(3)  # returns: only one of several ends here


@pytest.mark.parametrize("call", [processes.from_first, processes.together])
def test_work_is_done_here_and_its_errors_are_its_own(call):
    assert call(lambda: {"path": 1}) == {"path": 1}
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("localhost", "give auto"),
        ("localhost:1", "give auto"),
        ("localhost:1,2", "give auto"),
        ("localhost:1,2,x", "give auto"),
        ("localhost:1,2,2", "numbers go from 0 to 1"),
    ],
)
def test_another_form_is_named_before_anything_starts(how, said):
    with pytest.raises(FacemaeError, match=said) as error:
        processes.join(how)
    assert f"--processes={how}" in str(error.value)
