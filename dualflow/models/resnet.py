"""ResNet (He et al., 2016), under torchvision's names."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.models.weights import TORCHVISION, filled
from dualflow.nn import BatchNorm2d, Conv2d, Linear, MaxPool2d, Module, Sequential, init
from dualflow.nn.functional import relu


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> Conv2d:
    """A convolution without bias, whose output has the extent of the input, by the stride."""
    made = Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


class BasicBlock(Module):
    """Two convolutions of 3 x 3, and a way around them.

    Args:
        inputs: Channels that come.
        width: Channels that go.
        stride: Of the first convolution.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        self.conv1, self.bn1 = convolution(inputs, width, 3, stride), BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3), BatchNorm2d(width)
        self.downsample = around(inputs, width, stride)

    def forward(self, x: Any) -> Tensor:
        """(n, inputs, h, w) -> (n, width, h / stride, w / stride)."""
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1, and a way around them.

    Args:
        inputs: Channels that come.
        width: Channels within; four times as many go.
        stride: Of the middle convolution.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        outputs = width * self.expansion
        self.conv1, self.bn1 = convolution(inputs, width, 1), BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3, stride), BatchNorm2d(width)
        self.conv3, self.bn3 = convolution(width, outputs, 1), BatchNorm2d(outputs)
        self.downsample = around(inputs, outputs, stride)

    def forward(self, x: Any) -> Tensor:
        """(n, inputs, h, w) -> (n, 4 width, h / stride, w / stride)."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(relu(self.bn2(self.conv2(y)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


def around(inputs: int, outputs: int, stride: int) -> Sequential | None:
    """What brings the input of a block to the shape of its output, where they differ."""
    if stride == 1 and inputs == outputs:
        return None
    return Sequential(convolution(inputs, outputs, 1, stride), BatchNorm2d(outputs))


class ResNet(Module):
    """Blocks with ways around them, in four groups.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        blocks: How many in each group.
        num_classes: Scores of an image.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, int, int, int],
        num_classes: int = 1000,
    ) -> None:
        self.conv1 = Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = BatchNorm2d(64)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for group, count in enumerate(blocks):
            width, made = 64 * 2**group, []
            for k in range(count):
                made.append(block(channels, width, 2 if group and not k else 1))
                channels = width * block.expansion
            setattr(self, f"layer{group + 1}", Sequential(*made))
        self.fc = Linear(channels, num_classes)

    def forward(self, x: Any) -> Tensor:
        """(n, 3, height, width) -> (n, num_classes)."""
        y = self.maxpool(relu(self.bn1(self.conv1(as_tensor(x)))))
        for group in range(4):
            y = getattr(self, f"layer{group + 1}")(y)
        return self.fc(y.mean(axis=(2, 3)))


def resnet18(weights: Any = None, num_classes: int = 1000) -> ResNet:
    """ResNet of 18 layers.

    Args:
        weights: The path of torchvision's weights, or names and arrays; random ones when None.
        num_classes: Scores of an image.

    Raises:
        FileNotFoundError: There is no such file; the message says where such files come from.
        ShapeError: The weights are another net's.
    """
    net = ResNet(BasicBlock, (2, 2, 2, 2), num_classes)
    return filled(net, weights, TORCHVISION.format("resnet18"))


def resnet34(weights: Any = None, num_classes: int = 1000) -> ResNet:
    """ResNet of 34 layers; see `resnet18`."""
    net = ResNet(BasicBlock, (3, 4, 6, 3), num_classes)
    return filled(net, weights, TORCHVISION.format("resnet34"))


def resnet50(weights: Any = None, num_classes: int = 1000) -> ResNet:
    """ResNet of 50 layers; see `resnet18`."""
    net = ResNet(Bottleneck, (3, 4, 6, 3), num_classes)
    return filled(net, weights, TORCHVISION.format("resnet50"))
