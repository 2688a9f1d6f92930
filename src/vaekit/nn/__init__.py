"""Networks that map tensors to tensors, without any probability."""

from vaekit.nn.conditioning import ConditionEmbedding
from vaekit.nn.conv import ConvDecoder, ConvEncoder, GridDecoder, GridEncoder, code_grid
from vaekit.nn.mlp import MLP
from vaekit.nn.patches import PatchDecoder, PatchEncoder

__all__ = [
    "MLP",
    "ConditionEmbedding",
    "ConvDecoder",
    "ConvEncoder",
    "GridDecoder",
    "GridEncoder",
    "PatchDecoder",
    "PatchEncoder",
    "code_grid",
]
