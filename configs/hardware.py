"""Named machines for ``python -m facemae_jax plan --hardware=NAME``, and the mesh that suits each.

Figures are those of the vendors' data sheets, per device and without sparsity; links one way. A copy of this file in the
current directory is taken before this one: add machines of your own there.
"""

from facemae_jax.plan.machine import GIB, JOBS, Machine, nearest

# NVIDIA H100 SXM5 data sheet: 80 GB HBM3 at 3.35 TB/s, BF16 989 TFLOP/s and TF32 494 TFLOP/s dense, NVLink 900 GB/s both ways.
# DGX H100 data sheet: one 400 Gbit/s InfiniBand adapter per GPU.
H100 = dict(
    chip="NVIDIA H100 SXM 80 GB", platform="gpu", memory=80 * GIB, bfloat16=989e12, float32=494e12, memory_rate=3.35e12,
    within=450e9, between=50e9,
)  # fmt: skip
# NVIDIA A100 SXM4 80GB data sheet: 80 GB HBM2e at 2,039 GB/s, BF16 312 TFLOP/s and TF32 156 TFLOP/s dense, NVLink 600 GB/s both ways.
# DGX A100 data sheet: one 200 Gbit/s InfiniBand adapter per GPU.
A100 = dict(
    chip="NVIDIA A100 SXM 80 GB", platform="gpu", memory=80 * GIB, bfloat16=312e12, float32=156e12, memory_rate=2.039e12,
    within=300e9, between=25e9,
)  # fmt: skip
# NVIDIA V100 SXM2 data sheet: 32 GB HBM2 at 900 GB/s, tensor cores (FP16) 125 TFLOP/s, FP32 15.7 TFLOP/s, NVLink 300 GB/s both ways.
# Too old for bfloat16; here to be compared with arcface_torch's published rates.
V100 = dict(
    chip="NVIDIA V100 SXM 32 GB", platform="gpu", memory=32 * GIB, bfloat16=125e12, float32=15.7e12, memory_rate=0.9e12,
    within=150e9, between=12.5e9,
)  # fmt: skip
# NVIDIA Ada whitepaper, GeForce RTX 4090: 24 GB GDDR6X at 1,008 GB/s, BF16 165.2 and TF32 82.6 TFLOP/s dense; PCIe 4.0 x16.
RTX4090 = dict(
    chip="NVIDIA RTX 4090 24 GB", platform="gpu", memory=24 * GIB, bfloat16=165.2e12, float32=82.6e12, memory_rate=1.008e12,
    within=32e9, between=0.0,
)  # fmt: skip
# Two cores of an AMD EPYC at 3 GHz with AVX2: 2 × 3e9 × 32 float32 FLOP/s (Zen optimisation guide: two 256-bit FMAs per cycle);
# 8 channels of DDR4-3200 give 204.8 GB/s to 64 cores, and one core about 20 GB/s of them.
EPYC = dict(
    chip="two CPU cores", platform="cpu", memory=16 * GIB, bfloat16=192e9, float32=192e9, memory_rate=40e9,
    within=10e9, between=0.0,
)  # fmt: skip
# Google Cloud TPU documentation, "TPU v5e": 16 GB HBM2 at 819 GB/s, 197 TFLOP/s, 400 GB/s both ways between chips of a slice (2-D torus),
# 6.4 Tbit/s of data center network for a pod of 256.
V5E = dict(
    chip="TPU v5e", platform="tpu", memory=16 * GIB, bfloat16=197e12, float32=197e12, memory_rate=819e9, within=200e9, between=3.125e9
)  # fmt: skip
# "TPU v5p": 95 GiB HBM2e at 2,765 GB/s, 459 TFLOP/s, 1,200 GB/s both ways (3-D torus), 50 Gbit/s of data center network per chip.
# Names count TensorCores, two to a chip and to a JAX device: v5p-128 has 64 devices.
V5P = dict(
    chip="TPU v5p", platform="tpu", memory=95 * GIB, bfloat16=459e12, float32=459e12, memory_rate=2.765e12, within=600e9,
    between=6.25e9,
)  # fmt: skip
# "TPU v6e": 32 GB at 1,600 GB/s, 918 TFLOP/s, 800 GB/s both ways (2-D torus), 25.6 Tbit/s of data center network for a pod of 256.
V6E = dict(
    chip="TPU v6e", platform="tpu", memory=32 * GIB, bfloat16=918e12, float32=918e12, memory_rate=1.6e12, within=400e9, between=12.5e9
)  # fmt: skip


def machine(name: str, devices: int, hosts: int, fsdp: int = 1, slices: int = 1, topology: str = "", **chip) -> Machine:
    """A machine whose MAE trainings split parameters over ``fsdp`` devices; recognizers are small and lie whole on each."""
    meshes = {"recognizer": (devices, 1), "mae": (devices // fsdp, fsdp)}
    return Machine(name=name, devices=devices, hosts=hosts, slices=slices, topology=topology, meshes=meshes, **chip)


MACHINES = {
    known.name: known
    for known in (
        machine("cpu", 1, 1, **EPYC),
        machine("gpu", 1, 1, **RTX4090),
        machine("v100x8", 8, 1, **V100),
        machine("a100x8", 8, 1, fsdp=8, **A100),
        machine("h100x1", 1, 1, **H100),
        machine("h100x8", 8, 1, fsdp=8, **H100),
        machine("h100x32", 32, 4, fsdp=8, slices=4, **H100),
        machine("h100x64", 64, 8, fsdp=8, slices=8, **H100),
        machine("v5e-8", 8, 2, fsdp=8, topology="v5e:2x4", **V5E),
        machine("v5e-16", 16, 4, fsdp=8, topology="v5e:4x4", **V5E),
        machine("v5e-64", 64, 16, fsdp=8, topology="v5e:8x8", **V5E),
        machine("v5e-256", 256, 64, fsdp=8, topology="v5e:16x16", **V5E),
        machine("v5e-256x2", 512, 128, fsdp=8, slices=2, topology="v5e:16x16", **V5E),
        machine("v5p-16", 8, 2, fsdp=8, topology="v5p:2x2x2", **V5P),
        machine("v5p-128", 64, 16, fsdp=8, topology="v5p:4x4x4", **V5P),
        machine("v5p-1024", 512, 128, fsdp=8, topology="v5p:8x8x8", **V5P),
        machine("v6e-16", 16, 4, fsdp=8, topology="v6e:4x4", **V6E),
        machine("v6e-256", 256, 64, fsdp=8, topology="v6e:16x16", **V6E),
    )
}


def mesh_for(name: str, job: str = "mae") -> tuple[int, int]:
    """The mesh (data, fsdp) of a named machine for one kind of training.

    Args:
        name: of :data:`MACHINES`.
        job: recognizer | mae.

    Raises:
        FacemaeError: for an unknown name, with the nearest ones.
    """
    if name not in MACHINES:
        raise nearest(name, MACHINES, "hardware")
    if job not in JOBS:
        raise nearest(job, JOBS, "job")
    return MACHINES[name].meshes[job]
