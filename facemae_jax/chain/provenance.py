"""What a result was made by: code, packages, machine. No name of a host, no path."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

import jax

from facemae_jax.chain.settings import REPOSITORY

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "simplejpeg")


def code_commit() -> str:
    """The commit of this checkout, with ``+changes`` when files differ from it; ``unknown`` outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # an installation without git is a plain fact, not a fault


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def hardware() -> dict[str, Any]:
    """What the arrays ran on; no host name."""
    devices = jax.devices()
    return dict(
        device=devices[0].device_kind,
        platform=devices[0].platform,
        devices=len(devices),
        cpus=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=sys.implementation.name,
    )
