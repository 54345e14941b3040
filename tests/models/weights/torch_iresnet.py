"""IResNet in PyTorch, from the published description (Deng et al. 2019; Han et al. 2017), under the names of arcface_torch's checkpoints.

``python tests/models/weights/torch_iresnet.py`` writes the golden arrays of a very small one, so that tests need no PyTorch.
"""

import pathlib

import numpy as np
import torch
from torch import nn

GOLDEN = pathlib.Path(__file__).parent / "golden" / "iresnet.npz"
SMALL = dict(widths=(4, 4, 6, 8), units=(1, 2, 1, 1), embedding=5, size=32)


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-5)


class Unit(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.bn1, self.conv1 = norm(before), nn.Conv2d(before, width, 3, 1, 1, bias=False)
        self.bn2, self.prelu = norm(width), nn.PReLU(width)
        self.conv2, self.bn3 = nn.Conv2d(width, width, 3, stride, 1, bias=False), norm(width)
        self.downsample = None
        if stride == 2:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), norm(width))

    def forward(self, x):
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


class TorchIResNet(nn.Module):
    def __init__(self, widths, units, embedding, size):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1, self.prelu = norm(widths[0]), nn.PReLU(widths[0])
        before = widths[0]
        for stage, (width, count) in enumerate(zip(widths, units, strict=True), 1):
            parts = [Unit(before if unit == 0 else width, width, 2 if unit == 0 else 1) for unit in range(count)]
            setattr(self, f"layer{stage}", nn.Sequential(*parts))
            before = width
        self.bn2 = norm(before)
        self.fc = nn.Linear(before * (size // 16) ** 2, embedding)
        self.features = nn.BatchNorm1d(embedding, eps=1e-5)
        self.features.weight.requires_grad = False  # and 1

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


def random_iresnet(seed=0, **sizes):
    """In evaluation; no weight hides a mistake behind 0 or 1, and activations neither vanish nor explode."""
    model, random = TorchIResNet(**sizes).eval(), np.random.default_rng(seed)
    for name, value in model.state_dict().items():
        if name == "features.weight" or name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight") and "prelu" not in name):
            drawn = random.uniform(0.5, 1.5, value.shape)
        elif value.ndim > 1:
            drawn = random.normal(0, np.prod(value.shape[1:]) ** -0.5, value.shape)
        else:
            drawn = random.normal(0, 0.3, value.shape)
        value.copy_(torch.from_numpy(np.asarray(drawn, np.float32)))
    return model


def outputs(model, images_BHWC):
    """name → output of the stem and of every unit (channels last), and the embedding."""
    kept, hooks = {}, []

    def keep(name):
        return lambda module, given, made: kept.update({name: made.permute(0, 2, 3, 1).numpy()})

    for name, module in model.named_modules():
        if isinstance(module, Unit) or name in ("conv1", "bn2"):
            mine = name.replace(".", "_")
            hooks.append(module.register_forward_hook(keep(mine)))
    with torch.no_grad():
        embeddings = model(torch.from_numpy(np.ascontiguousarray(images_BHWC.transpose(0, 3, 1, 2)))).numpy()
    for hook in hooks:
        hook.remove()
    return kept | {"embedding": embeddings}


def images(count, size, seed=5):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


if __name__ == "__main__":
    small = random_iresnet(**SMALL)
    pictures = images(1, SMALL["size"])
    arrays = {f"weights/{name}": value.numpy() for name, value in small.state_dict().items()}
    arrays |= {f"outputs/{name}": value for name, value in outputs(small, pictures).items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, images=pictures, **arrays)
