"""The launch scripts, with stand-ins for the programs they call: what would run where, and what becomes of signals and exit codes."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml  # comes with flax and ml-collections

from facemae_jax.data.face_set import FaceSetWriter
from facemae_jax.data.images import encode_jpeg
from facemae_jax.types import Record

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = ("machine", "slurm", "tpu_pod", "gke", "local_pod")
ARGUMENTS = ("--config=configs/demo.py", "--workdir=/shared/two words")
GPU = dict(KIND="gpu", HOSTS="3", CHIPS="8", ACCELERATOR="nvidia-h100-80gb", IMAGE="images/facemae:1", CLAIM="faces")
TPU = GPU | dict(KIND="tpu", HOSTS="4", CHIPS="4", ACCELERATOR="tpu-v5-lite-podslice", TOPOLOGY="4x4")
POD = dict(TPU="pod", ZONE="zone-a")
NEEDS = {"gke": GPU, "tpu_pod": POD}
STANDINS = ("gcloud", "sbatch", "srun", "scontrol", "scancel", "kubectl", "git", "uv")


class Place:
    """A checkout of the scripts alone, and programs that note how they are called instead of doing anything."""

    def __init__(self, folder: Path):
        self.checkout, self.programs, self.calls_file = folder / "checkout", folder / "programs", folder / "calls"
        shutil.copytree(REPOSITORY / "launch", self.checkout / "launch")
        shutil.copy(REPOSITORY / "requirements.txt", self.checkout)
        self.programs.mkdir()
        for name in STANDINS:
            self.program(name)
        self.python = self.program("python", folder=self.checkout / ".venv/bin")
        path = f"{self.programs}:/usr/bin:/bin"
        self.env = dict(
            PATH=path, HOME=str(folder), CALLS=str(self.calls_file), PYTHON=sys.executable, LC_ALL="C.UTF-8"
        )

    def program(self, name, body="", folder=None):
        file = (folder or self.programs) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        note = 'called=$(printf "\\t%s" "$@"); printf "%s\\n" "${0##*/}$called" >>"$CALLS"\n'  # whole lines: some run at once
        file.write_text(f"#!/usr/bin/env bash\n{note}{body}\n")
        file.chmod(0o755)
        return file

    def calls(self, name=None):
        """[program, argument, …] of each call."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [line.split("\t") for line in lines if name is None or line.split("\t")[0] == name]

    def start(self, script, *arguments, cwd=None, **env):
        command = ["bash", str(self.checkout / f"launch/{script}.sh"), *arguments]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return subprocess.Popen(command, env=self.env | env, cwd=cwd or self.checkout, **pipes)

    def run(self, script, *arguments, cwd=None, **env):
        """(exit code, stdout, stderr)."""
        process = self.start(script, *arguments, cwd=cwd, **env)
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_scripts_parse_and_are_clean():
    files = sorted((REPOSITORY / "launch").glob("*.sh"))
    for file in files:
        subprocess.run(["bash", "-n", file], check=True)
    if shellcheck := shutil.which("shellcheck"):
        ours = [file for file in files if file.stem in (*SCRIPTS, "options")]
        subprocess.run([shellcheck, "-x", "-P", "SCRIPTDIR", *ours], check=True, cwd=REPOSITORY)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_comment_at_the_top_and_nothing_runs(place, script):
    code, out, err = place.run(script, "--help")
    assert code == 0 and not err and not place.calls()
    assert f"launch/{script}.sh" in out and "--dry-run" in out and "dit" in out and "set -euo" not in out
    assert "#SBATCH" not in out.replace("the #SBATCH lines", "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_prints_and_runs_nothing(place, script):
    arguments = () if script == "local_pod" else ("train-mae", *ARGUMENTS)
    code, out, err = place.run(script, "--dry-run", *arguments, **NEEDS.get(script, {}))
    assert code == 0 and not err and not place.calls()
    assert "facemae_jax" in out and "train-mae" in out and " run " not in out.replace("facemae_jax run SETTINGS", "")
    other = place.run(script, *arguments, DRY_RUN="1", **NEEDS.get(script, {}))[1]
    assert len(other.splitlines()) == len(out.splitlines()) and not place.calls()
    assert "facemae_jax" in place.run(script, "--dry-run", DRY_RUN="0", **NEEDS.get(script, {}))[1]


@pytest.mark.parametrize("script, missing", [("tpu_pod", "ZONE"), ("gke", "CLAIM")])
def test_what_must_be_set_is_named(place, script, missing):
    code, _, err = place.run(script, *ARGUMENTS, **{k: v for k, v in NEEDS[script].items() if k != missing})
    assert code == 2 and f"set {missing}" in err and not place.calls()


# machine.sh


@pytest.mark.parametrize("gpus", [False, True])
def test_machine_is_one_process_in_the_callers_folder(place, tmp_path, gpus):
    if gpus:
        place.program("nvidia-smi")
    place.program(
        "python", 'echo "$PWD $PYTHONPATH ${CUDA_VISIBLE_DEVICES:-all}"; exit 143', place.checkout / ".venv/bin"
    )
    code, out, _ = place.run("machine", *ARGUMENTS, cwd=tmp_path, **({"GPUS": "0,1"} if gpus else {}))
    assert code == 143
    assert out.splitlines()[-1] == f"{tmp_path} {place.checkout} {'0,1' if gpus else 'all'}"
    assert place.calls("python") == [["python", "-m", "facemae_jax", "run", *ARGUMENTS]]
    (install,) = place.calls("uv")
    assert ("launch/requirements-gpu.txt" in install) == gpus and "requirements.txt" in install


# slurm.sh

SRUN = """
cat >"$CALLS.sh" <<'TASK'
trap 'sleep 0.2; echo saved >>"$CALLS"; exit 143' TERM
echo $$ >"$CALLS.task"
[ -z "${ENDS:-}" ] || exit "$ENDS"
while sleep 0.02; do :; done
TASK
bash "$CALLS.sh" &
trap 'kill -9 $!; exit 137' TERM   # as the real one: a TERM to srun kills the tasks at once
wait $!"""


@pytest.fixture
def cluster(place):
    place.program("srun", 'printf "ids\\t%s\\n" "${JAX_LOCAL_DEVICE_IDS:-}" >>"$CALLS"\n' + SRUN)
    place.program("scancel", 'kill -TERM "$(cat "$CALLS.task")"')
    place.program("scontrol", '[ "$1" != show ] || echo "JobId=7 JobState=${STATE:-RUNNING} Reason=None"')
    place.env |= dict(
        SLURM_JOB_ID="7", SLURM_NTASKS_PER_NODE="1", SLURM_GPUS_ON_NODE="4", SLURM_CPUS_PER_TASK="16",
        SLURM_SUBMIT_DIR=str(place.checkout),
    )  # fmt: skip
    return place


def task_of(place):
    """The process id of the task that srun started."""
    file, limit = Path(f"{place.calls_file}.task"), time.monotonic() + 10
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < limit
        time.sleep(0.01)
    return int(file.read_text())


def sbatch_options():
    lines = (REPOSITORY / "launch/slurm.sh").read_text().splitlines()
    return dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH"))


def test_slurm_asks_for_a_signal_to_the_tasks_and_for_the_queue():
    options = sbatch_options()
    assert options["signal"] == "TERM@120" and "requeue" in options and options["open-mode"] == "append"
    assert {"nodes": "2", "ntasks-per-node": "1", "gpus-per-node": "8"}.items() <= options.items()


def test_slurm_starts_one_step_with_all_gpus_of_a_node(cluster, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    shutil.copy(cluster.checkout / "launch/slurm.sh", spool / "slurm_script")
    subprocess.run(
        ["bash", spool / "slurm_script", "train-mae", *ARGUMENTS],
        env=cluster.env | {"ENDS": "0"},
        cwd=spool,
        check=True,
    )
    (srun,) = cluster.calls("srun")
    assert srun[1:3] == ["--kill-on-bad-exit=0", "--cpus-per-task=16"]
    assert srun[3:] == [".venv/bin/python", "-m", "facemae_jax", "train-mae", *ARGUMENTS, "--processes=auto"]
    assert cluster.calls("ids") == [["ids", "0,1,2,3"]] and not cluster.calls("scontrol")


def test_slurm_leaves_a_task_per_gpu_to_jax(cluster):
    assert cluster.run("slurm", *ARGUMENTS, ENDS="0", SLURM_NTASKS_PER_NODE="4")[0] == 0
    assert cluster.calls("ids") == [["ids"]] or cluster.calls("ids") == [["ids", ""]]


@pytest.mark.parametrize("whom", ["tasks", "shell"])
def test_slurm_signal_reaches_the_tasks_and_the_job_is_queued_again(cluster, whom):
    job = cluster.start("slurm", *ARGUMENTS)
    task = task_of(cluster)
    if whom == "tasks":
        os.kill(task, signal.SIGTERM)
    else:
        job.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        job.send_signal(signal.SIGTERM)  # a second one changes nothing
    job.communicate(timeout=10)
    assert job.returncode == 143  # 137 would be tasks killed before they saved
    assert cluster.calls("scancel") == ([["scancel", "--signal=TERM", "7"]] if whom == "shell" else [])
    assert cluster.calls()[-3:] == [["saved"], ["scontrol", "show", "job", "7"], ["scontrol", "requeue", "7"]]


@pytest.mark.parametrize(
    "env", [dict(ENDS="0"), dict(ENDS="2"), dict(ENDS="143", REQUEUE="0"), dict(ENDS="143", STATE="CANCELLED")]
)
def test_slurm_does_not_queue_again_what_ended_otherwise(cluster, env):
    code, _, err = cluster.run("slurm", *ARGUMENTS, **env)
    assert code == int(env["ENDS"]) and ["scontrol", "requeue", "7"] not in cluster.calls()
    assert ("stopped by hand" in err) == ("STATE" in env)


def test_slurm_refuses_to_run_without_a_job_and_elsewhere(place, tmp_path):
    code, _, err = place.run("slurm", *ARGUMENTS)
    assert code == 2 and "sbatch launch/slurm.sh" in err
    code, _, err = place.run("slurm", *ARGUMENTS, SLURM_SUBMIT_DIR=str(tmp_path), SLURM_JOB_ID="7")
    assert code == 2 and "root of the checkout" in err and not place.calls()


# tpu_pod.sh


def test_tpu_pod_takes_the_commit_to_all_workers_and_starts_them(place, tmp_path):
    """The command for the workers runs here, in a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    place.program("git", f'tar -czf "${{3#--output=}}" -C {place.checkout} launch requirements.txt')
    place.program("uv", f'[ "$1" != venv ] || install -D {place.python} .venv/bin/python')
    worker = f'for last; do :; done; HOME={home} bash -c "${{last#--command=}}"'
    place.program("gcloud", f'case $4 in scp) cp "$5" {home}/"${{6#pod:}}" ;; ssh) {worker} ;; esac')
    code, _, err = place.run("tpu_pod", *ARGUMENTS, SETUP="echo mounted >>$CALLS", SOURCE="v1", **POD)
    assert code == 0, err
    names = [call[0] for call in place.calls()]
    assert (
        names.index("git") < names.index("gcloud") < names.index("mounted") < names.index("uv") < names.index("python")
    )
    assert place.calls("git")[0][-1] == "v1"
    for call in place.calls("gcloud"):
        assert call[1:4] == ["compute", "tpus", "tpu-vm"] and {"--zone=zone-a", "--worker=all"} <= set(call)
    assert "launch/requirements-tpu.txt" in place.calls("uv")[-1]
    assert place.calls("python")[-1] == ["python", "-m", "facemae_jax", "run", *ARGUMENTS, "--processes=auto"]


# gke.sh


def manifest(place, *arguments, **env):
    code, out, err = place.run("gke", "--dry-run", *arguments, **env)
    assert code == 0, err
    return yaml.safe_load(out)


def parts(jobset):
    """(job, pod, container) specifications."""
    (workers,) = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    pod = job["template"]["spec"]
    return workers, job, pod, pod["containers"][0]


@pytest.mark.parametrize("env", [GPU, TPU])
def test_gke_manifest(place, env):
    jobset = manifest(place, *ARGUMENTS, **env, NAME="mine", RESTARTS="7", MOUNT="/nfs")
    workers, job, pod, container = parts(jobset)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert jobset["metadata"]["name"] == jobset["spec"]["network"]["subdomain"] == "mine"
    assert workers["replicas"] == 1 and job["completions"] == job["parallelism"] == int(env["HOSTS"])
    assert job["completionMode"] == "Indexed" and job["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 7
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    assert container["image"] == env["IMAGE"] and container["args"][:-1] == ["run", *ARGUMENTS]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "faces"
    assert container["volumeMounts"][0]["mountPath"] == "/nfs"
    if env is GPU:
        assert container["args"][-1] == "--processes=mine-workers-0-0.mine:8476,3,$(JOB_COMPLETION_INDEX)"
        assert container["command"] == ["env", "-u", "KUBERNETES_SERVICE_HOST", "python", "-m", "facemae_jax"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
        assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
        assert pod["securityContext"]["runAsUser"] == 1000 and pod["securityContext"]["runAsNonRoot"]
    else:
        assert container["args"][-1] == "--processes=auto"
        assert container["command"] == ["python", "-m", "facemae_jax"] and "env" not in container
        assert container["resources"]["limits"] == {"google.com/tpu": 4}
        assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x4"
        assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == "tpu-v5-lite-podslice"
        assert "exclusive-topology" in next(iter(jobset["metadata"]["annotations"]))


def test_gke_keeps_arguments_as_they_are(place):
    odd = ('--config.data.terms="a", b\\c & $(HOME) ${NAME} # gpu', "--config.name=")
    given = parts(manifest(place, "train-mae", *odd, **GPU))[3]["args"]
    assert given[:-1] == ["train-mae", odd[0].replace("$(", "$$("), odd[1]]  # $$( is how Kubernetes writes $(


def test_gke_submits_what_the_dry_run_shows(place):
    place.program("kubectl", 'cat >"$CALLS.manifest"')
    assert place.run("gke", *ARGUMENTS, **GPU)[0] == 0
    assert place.calls() == [["kubectl", "create", "-f", "-"]]
    assert yaml.safe_load(Path(f"{place.calls_file}.manifest").read_text()) == manifest(place, *ARGUMENTS, **GPU)


@pytest.mark.parametrize(
    "changes", [dict(KIND="cpu"), dict(TOPOLOGY="4x2"), dict(TOPOLOGY="16"), dict(HOSTS="two"), dict(IMAGE="a b")]
)
def test_gke_refuses(place, changes):
    code, _, err = place.run("gke", *ARGUMENTS, **(TPU | changes))
    (name,) = changes
    assert code == 2 and f"{name}={changes[name]}" in err and not place.calls()


def test_the_image_is_nobodys_root_and_has_a_pinned_python():
    lines = (REPOSITORY / "launch/Containerfile").read_text().splitlines()
    assert "ARG PYTHON=3.12" in lines and "FROM python:${PYTHON}-slim" in lines and "USER 1000" in lines
    for kind in ("gpu", "tpu"):
        assert "jax[" in (REPOSITORY / f"launch/requirements-{kind}.txt").read_text()
    for line in lines:
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert list(REPOSITORY.glob(source)), source


# local_pod.sh

DRILL = """
case "$*" in
  -c*) echo 12345 ;;
  *compare_runs.py*) echo "local pod: $VERDICT"; [ "$VERDICT" = "the same" ] ;;
  *" train-mae "*,2,0) sleep 0.2; exit 1 ;;
  *" train-mae "*,2,1)
    echo $$ >"$CALLS.victim"
    mkdir -p "$WORKDIR/pod/train-mae-1/checkpoints/10"
    touch "$WORKDIR/pod/train-mae-1/checkpoints/10/_CHECKPOINT_METADATA"
    [ -z "${FINISHES:-}" ] || touch "$WORKDIR/pod/train-mae-1/done.json"
    exec sleep 60 ;;
  *" ${FAILS:-none} "*) exit 3 ;;
esac"""


def drill(place, tmp_path, **env):
    place.program("python", DRILL, place.checkout / ".venv/bin")
    code, out, err = place.run("local_pod", WORKDIR=str(tmp_path / "w"), **env)
    return code, out.splitlines()[-1], err


@pytest.mark.parametrize("verdict", ["the same", "DIFFERENT"])
def test_local_pod_kills_one_process_and_ends_with_the_verdict(place, tmp_path, verdict):
    code, last, _ = drill(place, tmp_path, VERDICT=verdict)
    assert (code, last) == (int(verdict != "the same"), f"local pod: {verdict}")
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path(f"{place.calls_file}.victim").read_text()), 0)
    verbs = [(call[3], call[-1].split(",")[1:]) for call in place.calls("python") if call[1:3] == ["-m", "facemae_jax"]]
    two = [["2", "0"], ["2", "1"]]
    assert verbs[0] == ("run", []) and ("train-mae", []) == verbs[7]
    for verb, at in (("import-faces", 1), ("train-teacher", 3), ("train-mae", 5), ("reconstruct", 8), ("run", 10)):
        assert sorted(verbs[at : at + 2]) == [(verb, part) for part in two]


@pytest.mark.parametrize("env", [dict(FAILS="train-teacher"), dict(FAILS="reconstruct"), dict(FINISHES="1")])
def test_local_pod_says_different_when_it_breaks_off(place, tmp_path, env):
    code, last, err = drill(place, tmp_path, VERDICT="the same", **env)
    assert code != 0 and last.startswith("local pod: DIFFERENT: the drill broke off")
    assert ("finished before it was killed" in err) == ("FINISHES" in env)
    assert not any("compare_runs" in str(call) for call in place.calls())


def test_local_pod_refuses_what_does_not_divide_the_batch(place):
    code, _, err = place.run("local_pod", "3", "4", "--dry-run")
    assert code == 2 and "3 × 4" in err and not place.calls()


# compare_runs.py

spec = importlib.util.spec_from_file_location("compare_runs", REPOSITORY / "launch/compare_runs.py")
compare_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare_runs)

IMAGE = encode_jpeg(np.zeros((8, 8, 3), np.uint8), 90)


def retrieval(rank, average):
    same_image = {
        "queries": 48, "rank": {"1": rank, "10": 0.9}, "map": average, "standard_error": {"rank_1": rank}, "chance": {"map": 0.1},
        "median_rank": 48 * rank, "cmc": {"rank": [1, 10], "rate": [rank, 0.9]},
    }  # fmt: skip
    return {"same_image": same_image, "same_identity": None, "without_another_image": 48}


def audit_json(
    rank=0.25, average=0.4, ceiling=1.0, tar=0.5, cosine=0.3, queries=48, judge="teacher", stranger=False, **variants
):
    """As the audit writes it, with one judge's figures to choose and another's fixed."""
    matching = {
        "tar_at_far": {"0.1": tar}, "eer": 0.2, "auc": 0.9, "roc": {"far": [0.0, 0.1], "tar": [0.0, tar]},
        "mated": {"count": 48, "mean": cosine, "std": 0.1}, "histogram": {"edges": [0, 1], "mated": [cosine]},
    }  # fmt: skip
    found = {"reconstruction": {"retrieval": retrieval(rank, average), "matching": matching}} | variants
    fixed = {"reconstruction": {"retrieval": retrieval(0.5, 0.6), "matching": matching | {"tar_at_far": {"0.1": 0.5}}}}
    chosen = {
        "name": judge,
        "independent": stranger,
        "reason": "",
        "ceiling": retrieval(ceiling, 1.0),
        "variants": found,
    }
    other = {
        "name": "recognizer:original",
        "independent": True,
        "reason": "",
        "ceiling": retrieval(1.0, 1.0),
        "variants": fixed,
    }
    return {"subset": "unseen", "queries": queries, "gallery": 96, "judges": [other, chosen]}


def workdir(
    path,
    losses=(1.0, 0.5),
    original=(4.0, 3.0),
    accuracy=0.9,
    keys="abcde",
    labels=(0, 0, 1, 1, 2),
    shard=2,
    audit=None,
):
    """A made-up workdir."""
    stages = {"train-teacher": (3.0, 2.0), "train-mae": losses, "train-recognizer/original": original}
    (path / "audit-1").mkdir(parents=True)
    (path / "audit-1" / "audit.json").write_text(json.dumps(audit_json(**(audit or {}))))
    for stage, values in stages.items():
        (path / f"{stage}-1").mkdir(parents=True)
        lines = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(values, 1)]
        (path / f"{stage}-1" / "metrics.jsonl").write_text("\n".join(lines))
    (path / "verify-1").mkdir()
    rows = [{"name": "teacher", "accuracy": {"mean": 0.8}}, {"name": "original", "accuracy": {"mean": accuracy}}]
    (path / "verify-1" / "verify.json").write_text(json.dumps({"rows": rows}))
    faces = FaceSetWriter(path / "reconstruct-1/faces/1.0.0", name="toy", image_size=8, shard_records=shard)
    records = [Record(IMAGE, label, key) for key, label in zip(keys, labels, strict=True)]
    for number, at in enumerate(range(0, len(records), shard)):
        faces.write_shard(number, records[at : at + shard])
    faces.finish(len(records))
    return path


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    return workdir(tmp_path_factory.mktemp("left") / "w")


def compared(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["compare_runs.py", *map(str, arguments)])
    code = compare_runs.main()
    return code, capsys.readouterr().out.splitlines()[-1]


def test_the_same(left, tmp_path, monkeypatch, capsys):
    near = dict(rank=0.25 + 1 / 48, average=0.38, tar=0.51, cosine=0.31)
    right = workdir(tmp_path / "w", losses=(1.00001, 0.500009), original=(4.00004, 3.0), accuracy=0.915, audit=near)
    code, last = compared(monkeypatch, capsys, left, right, "--name=local pod")
    assert code == 0 and last.startswith("local pod: the same: ")
    assert "2 logged steps" in last and "5 records" in last and "3 shards" in last and "2 accuracies" in last
    assert "figures, at most 0.0208 apart" in last
    code, last = compared(monkeypatch, capsys, left, right, "--curves=1e-6", "--accuracy=0.01", "--leakage=0.02")
    assert code == 1 and last.startswith("runs: DIFFERENT: ")
    for part in ("train-mae, step", "train-recognizer/original, step", "verify: original", "audit: judges/teacher/"):
        assert part in last


@pytest.mark.parametrize(
    "changes, told",
    [
        (dict(losses=(1.00003, 0.5)), "train-mae, step 1: loss"),
        (dict(losses=(1.0, float("nan"))), "train-mae, step 2: loss"),
        (dict(losses=(1.0,)), "2 and 1 logged steps"),
        (dict(original=(4.0, 3.00005)), "train-recognizer/original, step 2: loss"),
        (dict(accuracy=0.93), "verify: original"),
        (
            dict(audit=dict(rank=0.25 + 2 / 48)),
            "audit: judges/teacher/variants/reconstruction/retrieval/same_image/rank/1 is",
        ),
        (dict(audit=dict(average=0.45)), "same_image/map is 0.4 and 0.45"),
        (dict(audit=dict(ceiling=0.9)), "audit: judges/teacher/ceiling/same_image/rank/1 is"),
        (dict(audit=dict(tar=0.6)), "matching/tar_at_far/0.1 is"),
        (dict(audit=dict(cosine=0.25)), "matching/mated/mean is"),
        (dict(audit=dict(cosine=float("nan"))), "matching/mated/mean is 0.3 and nan"),
        (dict(audit=dict(cosine=None)), "matching/mated/mean is 0.3 and None"),
        (dict(audit=dict(queries=47)), "audit: queries is 48 and 47"),
        (dict(audit=dict(stranger=True)), "audit: judges/teacher/independent is False and True"),
        (dict(audit=dict(judge="another")), "audit: only one has judges/another/"),
        (dict(audit=dict(blur={"eer": 0.5})), "audit: only one has judges/teacher/variants/blur/eer"),
        (dict(keys="abcdf"), "other keys"),
        (dict(keys="bacde"), "other keys"),
        (dict(labels=(0, 0, 1, 2, 2)), "other labels"),
        (dict(shard=3), "3 and 2 shards"),
    ],
)
def test_different(left, tmp_path, monkeypatch, capsys, changes, told):
    code, last = compared(monkeypatch, capsys, left, workdir(tmp_path / "w", **changes))
    assert code == 1 and last.startswith("runs: DIFFERENT: ") and told in last


@pytest.mark.parametrize(
    "gone",
    [
        "train-teacher-1/metrics.jsonl",
        "train-recognizer/original-1/metrics.jsonl",
        "verify-1/verify.json",
        "audit-1/audit.json",
        "reconstruct-1/faces/1.0.0/dataset_info.json",
    ],
)
def test_what_is_missing_is_a_difference(left, tmp_path, monkeypatch, capsys, gone):
    right = workdir(tmp_path / "w")
    (right / gone).unlink()
    code, last = compared(monkeypatch, capsys, left, right)
    assert code == 1 and last.startswith("runs: DIFFERENT: ") and str(right) in last
