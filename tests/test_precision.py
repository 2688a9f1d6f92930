"""Where bfloat16 is used: in the networks' products, and not in their inputs and outputs."""

import pytest
import torch
from torch import nn

from vaekit.training.engine import Engine


class Spy(nn.Module):
    """Returns its inputs, and a product of them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x, weights, self.layer(x)


@pytest.fixture(scope="module")
def seen() -> dict[str, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    x, found = torch.rand(64, 3), {}
    layer = Spy()
    for precision in ("32", "bf16"):
        step, _ = Engine(precision=precision).setup(
            layer, lambda m: torch.optim.AdamW(m.parameters())
        )
        found[precision] = step(x, torch.tensor([1 / 3]))
    return found | {"given": (x, torch.tensor([1 / 3]))}


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_data_and_weights_of_terms_go_in_as_they_are(seen, precision) -> None:
    for inside, given in zip(seen[precision], seen["given"], strict=False):
        assert inside.dtype == given.dtype
        assert torch.equal(inside, given)


def test_products_are_lowered_and_come_out_as_float32(seen) -> None:
    exact, lowered = seen["32"][2], seen["bf16"][2]
    assert exact.dtype == lowered.dtype == torch.float32
    assert torch.equal(lowered, lowered.bfloat16().float())
    assert not torch.equal(lowered, exact)
    torch.testing.assert_close(lowered, exact, atol=0.02, rtol=0.02)
