"""Runs are found by their folders, and what is no run is refused in one sentence."""

import json
import sys
from pathlib import Path

import pytest

from facemae_jax.chain import compare
from facemae_jax.types import FacemaeError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))
from report_help import audit, verify


def write_run(workdir, mark, *, began=1.0, name="demo", verified=True):
    """A finished report with the figures it was made from, as the chain leaves them."""
    upstream = {"audit": {"ref": "audit", "directory": f"audit-{mark}"}}
    contents = {f"audit-{mark}/audit.json": audit()}
    if verified:
        upstream["verify"] = {"ref": "verify", "directory": f"verify-{mark}"}
        contents[f"verify-{mark}/verify.json"] = verify()
    contents[f"report-{mark}/done.json"] = dict(
        stage="report", config_name=name, upstream=upstream, commit="abc", began=began,
        hardware=dict(devices=1, device="cpu", cpus=2),
    )  # fmt: skip
    for file, content in contents.items():
        (workdir / file).parent.mkdir(parents=True, exist_ok=True)
        (workdir / file).write_text(json.dumps(content))
    return workdir / f"report-{mark}"


def write_sweep(folder, settings=True):
    figure = dict(mean=0.5, std=None, n=1)
    group = dict(setting={"seed": 1}, variant="reconstruction", judge="teacher", independent=False, utility=figure)
    group |= dict(same_image_rank_1=figure, same_identity_rank_1=None)
    folder.mkdir(parents=True)
    content = dict(config="demo", settings=[group] if settings else [], points=[dict(state="complete")])
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder


def test_workdirs_reports_and_sweeps_stand_on_one_page(tmp_path):
    write_run(tmp_path / "a", "11111111")
    report = write_run(tmp_path / "b", "22222222", name="casia", verified=False)
    swept = write_sweep(tmp_path / "c" / "sweep-33333333")
    out = tmp_path / "page.html"
    compare.serve([tmp_path / "a", report, swept], out)
    text = out.read_text(encoding="utf-8")
    assert "<h1>3 runs side by side: demo, casia, sweep of demo</h1>" in text and "1 of 1" in text
    assert str(tmp_path) not in text and not out.with_name("page.html.partial").exists()


def test_the_newest_report_of_a_workdir_counts(tmp_path):
    new = write_run(tmp_path, "99999999", began=1.0)
    newest = write_run(tmp_path, "00000000", began=2.0)
    (tmp_path / "report-interrupted").mkdir()
    assert compare.locate(tmp_path) == newest.resolve() and compare.locate(new) == new.resolve()


def test_runs_of_one_config_are_told_apart(tmp_path):
    found = [write_run(tmp_path / mark, mark) for mark in ("aaaaaaaa", "bbbbbbbb")]
    compare.serve(found, tmp_path / "page.html")
    assert "demo aaaaaaaa, demo bbbbbbbb" in (tmp_path / "page.html").read_text()


def refused(places, out=Path("never.html")):
    with pytest.raises(FacemaeError) as error:
        compare.serve(places, out)
    return str(error.value)


def test_what_is_no_run_is_refused(tmp_path):
    good = write_run(tmp_path / "good", "11111111")
    (tmp_path / "empty").mkdir()
    assert "at least two runs" in refused([good])
    assert f"{tmp_path / 'missing'}: no such folder" in refused([good, tmp_path / "missing"])
    assert f"{tmp_path / 'empty'} is no run" in refused([good, tmp_path / "empty"])
    assert "is no run" in refused([good, good.parent / "audit-11111111"])
    assert "is the same run as" in refused([tmp_path / "good", good])
    write_sweep(tmp_path / "swept" / "sweep-1")
    assert f"such as {tmp_path / 'swept' / 'sweep-1'}" in refused([good, tmp_path / "swept"])
    assert "no point of this sweep is complete" in refused([good, write_sweep(tmp_path / "sweep-2", settings=False)])
    assert "there is no folder" in refused([good, tmp_path], tmp_path / "none" / "page.html")


def test_a_report_without_its_figures_is_refused(tmp_path):
    good, moved = write_run(tmp_path / "good", "11111111"), write_run(tmp_path / "from", "22222222")
    alone = tmp_path / "report-22222222"
    moved.rename(alone)
    assert "audit-22222222/audit.json of the workdir, which is not there" in refused([good, alone])
