"""A configuration so small that a whole chain runs in half a minute, and the door to run it through."""

import pytest

from facemae_jax import __main__ as door

TINY = '''"""Everything of configs/base.py, shrunken: 32×32 pixels, a dozen invented people, a handful of steps."""
from configs import base


def get_config():
    c = base.get_config()
    c.name = "tiny"
    c.data.image_size = 32
    c.synthetic.update(dict(identities=12, images=4))
    for part in (c.teacher, c.recognizer):
        part.update(dict(network="cpu", embedding=16))
        part.optim.update(dict(epochs=2.0, batch=8, learning_rate=0.02, log_every=1, save_every=4))
    c.mae.update(dict(size="custom", width=32, depth=1, heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2))
    c.mae.relation_from = 0.5
    c.mae.optim.update(dict(epochs=4.0, batch=8, log_every=1, save_every=4))
    c.verify.update(dict(identities=8, images=4, count=80, folds=4, batch=32))
    c.audit.update(dict(max_queries=24, max_gallery=24, batch=8, attacks=("fusion",)))
    c.reconstruct.update(dict(batch=2, shard_records=10))
    return c
'''


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Path of the tiny config file."""
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    file.write_text(TINY)
    return file


@pytest.fixture
def enter(tiny, capsys):
    """``enter(verb, workdir, "--config.field=value", …)`` → (exit code, stdout, stderr), through the door."""

    def call(verb, workdir, *more, config=None):
        capsys.readouterr()
        code = door.main([verb, f"--config={config or tiny}", f"--workdir={workdir}", *map(str, more)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
