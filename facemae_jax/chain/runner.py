"""Runs stages into their directories, reuses the whole ones, and writes ``done.json`` last.

A directory without ``done.json`` is an interrupted attempt: the stage gets it back and continues. Nothing that was
finished is computed twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from facemae_jax import logs
from facemae_jax.chain import graph
from facemae_jax.chain.fingerprint import fingerprint, hashed_fields, outside_digest, outside_path, view
from facemae_jax.chain.locks import claimed
from facemae_jax.chain.provenance import code_commit, hardware, versions
from facemae_jax.export.release import read_or_make_secret
from facemae_jax.processes import from_first
from facemae_jax.stages.inputs import Input, Inputs, Ref
from facemae_jax.types import FacemaeError


class Result(NamedTuple):
    """Where a result lives, whole or not."""

    ref: Ref
    fingerprint: str
    path: Path

    @property
    def done(self) -> dict[str, Any] | None:
        """What ``done.json`` says, or None while the stage is not finished."""
        file = self.path / "done.json"
        return json.loads(file.read_text()) if file.is_file() else None


class Chain:
    """All results of one config in one workdir."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        *,
        spec: str = "CONFIG",
        secret_file: Path | None = None,
        commit: str = "",
        shared: bool = False,
    ):
        """Nothing is read or made yet.

        Args:
            config: resolved.
            workdir: of all results.
            spec: how the config was named, for messages.
            secret_file: instead of the workdir's own.
            commit: of this code, where the caller knows it.
            shared: other calls make results in this workdir at the same time, so that each result is claimed first.
        """
        self.config, self.workdir, self.spec, self.shared = config, workdir.absolute(), spec, shared
        self.secret = secret_file or self.workdir / "private" / "secret"
        self._known: dict[Ref, Result] = {}
        self._commit = commit or code_commit()
        self._warned = False

    def outside(self, ref: Ref) -> dict[str, str]:
        """name → outside value; the secret is made here, once."""
        values = graph.STAGES[ref.stage].outside(self.config, ref.variant)
        if "secret" in values:
            read_or_make_secret(self.secret)
            values = values | {"secret": str(self.secret)}
        return values

    def result(self, ref: Ref) -> Result:
        """Fingerprint and directory of a result, computed from the config and outside content alone."""
        if ref not in self._known:
            module = graph.STAGES[ref.stage]
            upstream = {name: self.result(up).fingerprint for name, up in graph.reads(self.config, ref).items()}
            cache = self.workdir / "private" / "digests"
            outside = from_first(
                lambda: {name: outside_digest(name, value, cache) for name, value in self.outside(ref).items()}
            )
            mark = fingerprint(self.config, module, ref.variant, upstream, outside)
            stage = self.workdir / ref.stage
            path = stage / f"{ref.variant}-{mark[:8]}" if ref.variant else stage.with_name(f"{ref.stage}-{mark[:8]}")
            self._known[ref] = Result(ref, mark, path)
        return self._known[ref]

    def run(self, wanted: Sequence[Ref], *, with_upstream: bool) -> None:
        """Make ``wanted``; with ``with_upstream`` also everything they need, else what they need must be there."""
        refs = graph.in_order(self.config, list(wanted)) if with_upstream else list(wanted)
        for number, ref in enumerate(refs, 1):
            result = self.result(ref)
            title = f"[{number}/{len(refs)}] {ref}"
            with claimed(self._claim(result), title) if self.shared else contextlib.nullcontext():
                if done := from_first(partial(getattr, result, "done")):
                    logs.say(f"{title}: reused {self._short(result.path)}")
                    self._compare_commit(done)
                else:
                    self._make(result, title)

    def missing(self, wanted: Sequence[Ref]) -> list[Ref]:
        """What has yet to be made for ``wanted``, each after what it reads; what a finished result was made from is not asked for."""
        results = {ref: self.result(ref) for ref in graph.in_order(self.config, list(wanted))}
        finished = from_first(lambda: [str(ref) for ref, result in results.items() if result.done is not None])
        needed: set[Ref] = set()
        open_ = list(wanted)
        while open_:
            ref = open_.pop()
            if ref not in needed and str(ref) not in finished:
                needed.add(ref)
                open_ += graph.reads(self.config, ref).values()
        return [ref for ref in results if ref in needed]

    def _make(self, result: Result, title: str) -> None:
        ref, module = result.ref, graph.STAGES[result.ref.stage]
        inputs = self._inputs(ref)
        state = "continued" if result.path.is_dir() and any(result.path.iterdir()) else "started"
        logs.say(f"{title}: {state} in {self._short(result.path)}")
        from_first(lambda: self._begin(result))
        began = time.time()
        given = (view(self.config, module, ref.variant), inputs, result.path, ref.variant)
        summary = from_first(lambda: module.run(*given)) if module.ALONE else module.run(*given)
        seconds = time.time() - began
        from_first(lambda: self._finish(result, summary, began, seconds))
        logs.say(f"{title}: done in {seconds:.0f} s")

    def _begin(self, result: Result) -> None:
        result.path.mkdir(parents=True, exist_ok=True)
        if not (result.path / "fingerprint").is_file():
            (result.path / "fingerprint").write_text(result.fingerprint)

    def _finish(self, result: Result, summary: dict[str, Any], began: float, seconds: float) -> None:
        ref, module = result.ref, graph.STAGES[result.ref.stage]
        upstream = {name: self.result(up) for name, up in graph.reads(self.config, ref).items()}
        done = dict(
            stage=ref.stage,
            variant=ref.variant,
            fingerprint=result.fingerprint,
            version=module.VERSION,
            fields=hashed_fields(self.config, module, ref.variant),
            config_name=self.config.name,
            upstream={name: dict(ref=str(up.ref), directory=self._short(up.path)) for name, up in upstream.items()},
            commit=self._commit,
            versions=versions(),
            hardware=hardware(),
            began=began,
            seconds=seconds,
            summary=summary,
        )
        partial = result.path / "done.json.partial"
        partial.write_text(json.dumps(done, indent=1))
        os.replace(partial, result.path / "done.json")

    def _inputs(self, ref: Ref) -> Inputs:
        found: dict[str, Input] = {}
        for name, up in graph.reads(self.config, ref).items():
            result = self.result(up)
            if result.done is None:
                raise FacemaeError(
                    f"{ref} needs {up}, which is not there yet ({self._short(result.path)}): make it with "
                    f"`python -m facemae_jax {up.stage} --config={self.spec} --workdir={self.workdir}`, or the whole chain with `run`."
                )
            found[name] = Input(result.path, up.variant)
        for name, value in self.outside(ref).items():
            path = outside_path(value)
            found[name] = Input(path if path is not None else Path(value), value)
        return Inputs(found, self.workdir)

    def _claim(self, result: Result) -> Path:
        return self.workdir / "private" / "claims" / self._short(result.path).replace("/", "-")

    def _compare_commit(self, done: dict[str, Any]) -> None:
        if done["commit"] != self._commit and not self._warned:
            self._warned = True
            logs.warn(
                f"{done['stage']} was made by code {done['commit']}, this is {self._commit}: "
                "stages are reused by their VERSION; use a new --workdir to make all anew."
            )

    def _short(self, path: Path) -> str:
        return path.relative_to(self.workdir).as_posix() if path.is_relative_to(self.workdir) else path.name
