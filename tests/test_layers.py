"""DESIGN §4: a module imports only from the rooms below its own, never from a neighbour in its layer."""

import ast
import pathlib
import shutil

import pytest

PACKAGE = "facemae_jax"
LAYERS = (
    ("types",),
    ("processes", "pickles"),
    ("keys", "mesh", "checkpoint", "logs"),
    ("data", "models", "losses", "metrics"),
    ("train",),
    ("export", "embed", "search"),
    ("audit",),
    ("report",),
    ("stages",),
    ("chain", "plan", "bench"),
    ("help",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
OPTIONAL = (
    "tensorflow",
    "onnxruntime",
    "torch",
    "dlib",
    "transformers",
    "safetensors",
    "webdataset",
    "datasets",
)  # extras: to be imported by the function that needs them


def problems(package: pathlib.Path) -> list[str]:
    """What breaks the rules in a package directory, one line each; empty when nothing does."""
    found = []
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package)
        room = where.parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text())
        if room != "__init__" and room not in LEVEL:
            found.append(f"{where}: {room} is no room of DESIGN §4")
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                found.append(f"{where}:{node.lineno}: relative import")
            found += [f"{where}:{line}: {fault}" for line, fault in _faults(room, node)]
        for node in _at_module_level(tree):
            for module in _modules(node):
                if module.split(".")[0] in OPTIONAL:
                    found.append(f"{where}:{node.lineno}: {module} is optional, but imported with the module")
    return found


def _faults(room: str, node: ast.AST) -> list[tuple[int, str]]:
    """Imports of this package's own rooms that ``room`` may not make."""
    faults = []
    for module in _modules(node):
        if module == PACKAGE or not module.startswith(f"{PACKAGE}."):
            continue
        other = module.split(".")[1]
        if other == room:
            continue
        if other not in LEVEL:
            faults.append((node.lineno, f"{other} is no room of DESIGN §4"))
        elif room == "__init__":
            faults.append((node.lineno, f"the package itself imports {other}"))
        elif LEVEL[other] == LEVEL[room]:
            faults.append((node.lineno, f"{room} imports its neighbour {other}"))
        elif LEVEL[other] > LEVEL[room]:
            faults.append((node.lineno, f"{room} imports {other}, which stands above it"))
    return faults


def _modules(node: ast.AST) -> list[str]:
    """Full names of what an import statement reads; ``from facemae_jax import logs`` reads facemae_jax.logs."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return [f"{PACKAGE}.{alias.name}" for alias in node.names] if node.module == PACKAGE else [node.module]
    return []


def _at_module_level(node: ast.AST):
    """All that runs when the module is imported: everything outside functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _at_module_level(child)


def test_the_package_keeps_the_layers(repository):
    assert (repository / PACKAGE / "types.py").is_file()
    assert problems(repository / PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("data/bad.py", "from facemae_jax.train.loop import train", "data imports train, which stands above it"),
        ("data/bad.py", "import facemae_jax.losses.pixels", "data imports its neighbour losses"),
        ("data/bad.py", "def f():\n    from facemae_jax import models", "data imports its neighbour models"),
        ("mesh.py", "from facemae_jax import logs, types", "mesh imports its neighbour logs"),
        (
            "stages/bad.py",
            "if True:\n    from facemae_jax.chain import graph",
            "stages imports chain, which stands above",
        ),
        ("types.py", "from facemae_jax.keys import keys_for", "types imports keys, which stands above it"),
        ("__init__.py", "from facemae_jax import types", "the package itself imports types"),
        ("utils.py", "", "utils is no room"),
        ("train/bad.py", "from facemae_jax import helpers", "helpers is no room"),
        ("train/bad.py", "from . import step", "relative import"),
        ("train/bad.py", "from ..types import Batch", "relative import"),
        ("models/bad.py", "import onnxruntime as ort", "onnxruntime is optional"),
        ("models/bad.py", "try:\n    import torch.nn\nexcept ImportError:\n    pass", "torch.nn is optional"),
        ("models/bad.py", "class A:\n    from tensorflow import data", "tensorflow is optional"),
    ],
)
def test_a_bad_file_is_found(tmp_path, file, text, fault):
    found = problems(package_of(tmp_path, file, text))
    assert len(found) == 1 and found[0].startswith(file) and fault in found[0]


def package_of(folder, file, text):
    path = folder / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n")
    return folder / PACKAGE


def test_a_bad_file_is_found_among_the_good(repository, tmp_path):
    package = tmp_path / PACKAGE
    shutil.copytree(repository / PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = problems(package)
    (package / "data" / "bad.py").write_text("from facemae_jax.chain import graph\n")
    assert set(problems(package)) - set(before) == {"data/bad.py:1: data imports chain, which stands above it"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("models/good.py", "def f():\n    import onnxruntime"),
        ("models/good.py", "from facemae_jax.models import vit\nimport facemae_jax"),
        ("models/good.py", "import numpy\nfrom facemae_jax.types import Tree\nfrom facemae_jax import mesh"),
        ("__main__.py", "from facemae_jax.chain import graph\nfrom facemae_jax import logs"),
    ],
)
def test_a_good_file_is_not(tmp_path, file, text):
    assert problems(package_of(tmp_path, file, text)) == []
