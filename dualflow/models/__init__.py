"""Ready nets, under the names that other frameworks give their weights."""

from __future__ import annotations

from dualflow.models.bert import MINILM, Bert, BertConfig, bert
from dualflow.models.classic import MLP, LeNet
from dualflow.models.gpt2 import GPT2, GPT2Config, gpt2
from dualflow.models.mobilenet import MobileNetV2, mobilenet_v2
from dualflow.models.recurrent import CharLSTM, CharRNN
from dualflow.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50
from dualflow.models.tree import ModularNet, TreeLSTM
from dualflow.models.unet import UNet
from dualflow.models.vae import VAE
from dualflow.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from dualflow.models.vit import VisionTransformer, vit_b_16

__all__ = [
    "GPT2",
    "MINILM",
    "MLP",
    "VAE",
    "VGG",
    "BasicBlock",
    "Bert",
    "BertConfig",
    "Bottleneck",
    "CharLSTM",
    "CharRNN",
    "GPT2Config",
    "LeNet",
    "MobileNetV2",
    "ModularNet",
    "ResNet",
    "TreeLSTM",
    "UNet",
    "VisionTransformer",
    "bert",
    "gpt2",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit_b_16",
]
