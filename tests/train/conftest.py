"""Compiling is most of the time of these tests, and LLVM's slow passes are half of compiling; none of them tests speed."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def compiled_quickly():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)  # the default
