"""The strict test world: eight CPU devices, no implicit rank promotion, warnings are errors (.pytest.ini).

Nothing here is for users of the package; a test that needs less strictness says so itself.
"""

import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import jax
import pytest

# Compiled programs are kept between runs: a cold step costs about ten seconds, a cached one half a second.
CACHE = os.environ.get("FACEMAE_TEST_CACHE", os.path.join(tempfile.gettempdir(), "facemae-jax-tests"))
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
# LLVM's slow passes are half of compiling; no test is about the speed of what is compiled.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The root of the checkout."""
    return pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def faces_folder() -> pathlib.Path:
    """The folder with real faces that FACEMAE_FACES names; tests that want it skip where it is missing."""
    folder = os.environ.get("FACEMAE_FACES", "")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip(
            "real faces: set FACEMAE_FACES to a folder with celeba112.zip, lfw112.zip, lfw_pairs.txt and the ONNX file"
        )
    return pathlib.Path(folder)
