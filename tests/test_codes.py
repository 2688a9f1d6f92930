"""Discrete latents: codebooks against an independent implementation, categories, their priors, and what they cost."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributions import kl_divergence

from vaekit import VAE, Conditional
from vaekit.advance import Step
from vaekit.code_priors import AutoregressiveCodes, LearnedCategories, UniformCategories, UniformCodes
from vaekit.codebooks import (
    AnyCodebook,
    Codebook,
    LearnedCodebook,
    ResidualCodebook,
    ScalarCodebook,
    k_means,
    nearest,
    straight_through,
)
from vaekit.codes import (
    Codes,
    GumbelSoftmax,
    HardCategorical,
    RelaxedCategorical,
    StraightThroughGumbelSoftmax,
    VectorQuantiser,
    codebook_cost,
    commitment,
    perplexity,
    usage,
)
from vaekit.families import PixelBernoulli
from vaekit.nn import MLP
from vaekit.nn.attention import CausalTransformer
from vaekit.objectives import Objective, Term, distortion, elbo, iwae, rate
from vaekit.trace import Draw, Trace

GRID, SHAPE = (2, 3), (1, 4, 4)

BOOKS: dict[str, Callable[[], AnyCodebook]] = {
    "moving": lambda: Codebook(7, 4),
    "learned": lambda: LearnedCodebook(7, 4),
    "residual": lambda: ResidualCodebook(2, 5, 4),
    "scalar": lambda: ScalarCodebook([4, 5, 3, 3]),
}
EACH = pytest.mark.parametrize("name", BOOKS)


def book(name: str) -> AnyCodebook:
    """A codebook that has seen features."""
    codebook = BOOKS[name]().eval()
    codebook.fit(features(200))
    return codebook


def features(n: int = 6) -> Tensor:
    return torch.randn(n, 4, *GRID) * torch.linspace(0.5, 2, 4)[:, None, None]


def quantised_vae(name: str = "moving", prior: str = "autoregressive", context: int = 0) -> VAE:
    codebook = BOOKS[name]()
    net = MLP(SHAPE, [16], (4, *GRID), context=context)
    p = AutoregressiveCodes(codebook, GRID, 8, 1, 2, context) if prior != "uniform" else UniformCodes(codebook, GRID)
    decoder = Conditional(MLP((4, *GRID), [16], SHAPE, context=context), PixelBernoulli(), event_dim=3)
    return VAE(VectorQuantiser(net, codebook), p, decoder)


def categorical_vae(family: Callable[[int, int], nn.Module] = GumbelSoftmax) -> VAE:
    encoder = Conditional(MLP(SHAPE, [16], (6,)), family(2, 3), event_dim=3)
    return VAE(encoder, LearnedCategories(2, 3), Conditional(MLP((6,), [16], SHAPE), PixelBernoulli()))


def pixels(n: int = 5) -> Tensor:
    return (torch.rand(n, *SHAPE) < 0.4).float()


def objective() -> Objective:
    terms = {"distortion": distortion, "rate": rate, "commitment": commitment, "codebook": codebook_cost}
    return Objective({name: Term(cost) for name, cost in (terms | {"perplexity": perplexity}).items()})


# Codebooks


@EACH
def test_codes_and_features_undo_each_other(name: str) -> None:
    codebook, x = book(name), features()
    found = codebook(x)
    assert found.z.shape == x.shape
    assert found.indices.shape == (6, 6 * codebook.depth)
    assert found.indices.max() < codebook.size
    torch.testing.assert_close(codebook.lookup(found.indices, GRID), found.z)
    assert torch.equal(codebook.indices(found.z), found.indices)


@EACH
def test_a_code_found_anew_is_the_code_drawn_by_lot(name: str) -> None:
    codebook = book(name)
    indices = torch.randint(codebook.size, (40, 6 * codebook.depth))
    assert torch.equal(codebook.indices(codebook.lookup(indices, GRID)), indices)


@EACH
@pytest.mark.parametrize("grid", [(), (5,), (2, 3, 2)])
def test_any_grid_will_do(name: str, grid: tuple[int, ...]) -> None:
    codebook, x = book(name), torch.randn(3, 4, *grid)
    found = codebook(x)
    assert found.indices.shape == (3, math.prod(grid) * codebook.depth)
    torch.testing.assert_close(codebook.lookup(found.indices, grid), found.z)


def test_the_nearest_code_is_the_nearest() -> None:
    points, codes = 100 + torch.randn(500, 6), 100 + torch.randn(40, 6)
    assert torch.equal(nearest(points, codes), torch.cdist(points.double(), codes.double()).argmin(1))


@EACH
def test_the_gradient_at_the_features_is_the_decoders(name: str) -> None:
    """Straight through, and the value is the code's to the last bit; a rounded channel has the squashing's slope."""
    codebook, x = book(name), (1000 * features()).requires_grad_(name != "scalar")
    x = features().requires_grad_() if name == "scalar" else x
    found = codebook(x)
    assert torch.equal(found.z, codebook.lookup(found.indices, GRID)) or name == "residual"
    weight = torch.randn_like(found.z)
    (found.z * weight).sum().backward()
    slope = torch.ones_like(x)
    if isinstance(codebook, ScalarCodebook):
        half = codebook.levels[:, None, None] // 2
        at = x.detach().flatten(2).requires_grad_()
        (slope,) = torch.autograd.grad(codebook._squashed(at).sum(), at)
        slope = slope.view_as(x) / half
    torch.testing.assert_close(x.grad, weight * slope)
    assert all(p.grad is None for p in codebook.parameters())


def test_commitment_teaches_the_features_and_codebook_cost_the_codes() -> None:
    codebook, x = book("learned"), features().requires_grad_()
    found = codebook(x)
    codes = codebook.get_parameter("codes")
    assert torch.autograd.grad(found.commitment.sum(), [x, codes], allow_unused=True, retain_graph=True)[1] is None
    (toward,) = torch.autograd.grad(found.commitment.sum(), x, retain_graph=True)
    torch.testing.assert_close(toward, 2 * (x - found.z).detach())
    assert torch.autograd.grad(found.codebook_cost.sum(), x, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(found.codebook_cost.sum(), codes)[0].abs().max() > 0
    torch.testing.assert_close(found.commitment, (x - found.z).square().sum((1, 2, 3)))
    torch.testing.assert_close(found.commitment, found.codebook_cost)


@pytest.mark.parametrize("name", ["moving", "residual", "scalar"])
def test_codes_that_learn_otherwise_have_no_codebook_cost(name: str) -> None:
    found = book(name)(features())
    assert torch.equal(found.codebook_cost, torch.zeros(6))
    assert (found.commitment > 0).all() == (name != "scalar")


def test_moving_averages_are_those_of_another_implementation() -> None:
    """Ten updates of vector-quantize-pytorch, started from the same codes with the same weight."""
    oracle_module = pytest.importorskip("vector_quantize_pytorch")
    oracle = oracle_module.VectorQuantize(4, 7, decay=0.9, threshold_ema_dead_code=0).train()
    ours = Codebook(7, 4, decay=0.9, revive=0.0).train()
    rows = 6 * 30
    with torch.no_grad():
        state = oracle._codebook
        ours._reset(state.embed[0])
        ours.usage.fill_(1 / 7)
        ours.sums.copy_(ours.codes / 7)
        state.cluster_size.fill_(rows / 7)
        state.embed_avg.copy_(state.embed * rows / 7)
    for _ in range(10):
        x = features(30)
        theirs, indices, _ = oracle(x.flatten(2).transpose(1, 2))
        found = ours(x)
        assert torch.equal(found.indices, indices)
        torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), theirs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.codes, state.embed[0], rtol=1e-4, atol=1e-5)


def test_residual_codes_are_those_of_another_implementation() -> None:
    oracle_module = pytest.importorskip("vector_quantize_pytorch")
    oracle = oracle_module.ResidualVQ(dim=4, codebook_size=5, num_quantizers=2).eval()
    ours, x = book("residual"), features(30)
    with torch.no_grad():
        for level, theirs in zip(ours.levels, oracle.layers, strict=True):  # type: ignore[arg-type]
            theirs._codebook.embed.copy_(level.codes[None])
        quantised, indices, _ = oracle(x.flatten(2).transpose(1, 2), return_all_codes=False)
    found = ours(x)
    assert torch.equal(found.indices, indices.flatten(1))
    torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), quantised, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [3, 3, 4], [7, 6]])
def test_rounded_codes_are_those_of_another_implementation(levels: list[int]) -> None:
    oracle_module = pytest.importorskip("vector_quantize_pytorch")
    oracle, ours = oracle_module.FSQ(levels), ScalarCodebook(levels)
    x = 3 * torch.randn(50, len(levels), *GRID)
    theirs, indices = oracle(x.flatten(2).transpose(1, 2))
    found = ours(x)
    assert torch.equal(found.indices, indices.long())
    torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), theirs)
    assert ours.size == math.prod(levels)


def test_every_rounded_code_can_be_reached() -> None:
    codebook = ScalarCodebook([4, 3, 3])
    everything = torch.cartesian_prod(*[torch.linspace(-9, 9, 60)] * 3)
    found = codebook(everything)
    assert len(found.indices.unique()) == codebook.size == 36
    assert torch.equal(ScalarCodebook([5, 4])(torch.zeros(1, 2)).z, torch.zeros(1, 2))


def test_levels_out_of_range_are_refused() -> None:
    for levels in ([], [2, 5], [300]):
        with pytest.raises(ValueError, match="levels must be"):
            ScalarCodebook(levels)


@EACH
def test_features_of_the_wrong_width_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="features of 4 channels, got 3"):
        book(name)(torch.randn(2, 3, *GRID))


def dead_and_alive() -> tuple[Codebook, Tensor]:
    """Code 2 of 3 is far from all data; the others are in use."""
    codebook = Codebook(3, 2, decay=0.9, revive=0.5).train()
    codebook._reset(torch.tensor([[0.0, 0.0], [5.0, 5.0], [99.0, 99.0]]))
    codebook.usage[2], codebook.sums[2] = 0.1, torch.tensor([9.9, 9.9])
    return codebook, torch.cat((0.3 * torch.randn(50, 2), 5 + 0.3 * torch.randn(50, 2)))


def test_a_dead_code_is_put_on_a_feature_and_the_update_leaves_it_there() -> None:
    codebook, x = dead_and_alive()
    found = codebook(x)
    assert not (found.indices == 2).any()
    assert (codebook.codes[2] == x).all(1).any()
    assert codebook.usage[2] == pytest.approx(2 * 0.5 / 3)
    before = codebook.codes[2].clone()
    codebook(x[(x - before).square().sum(1).topk(10).indices])  # a batch without it: unused, it stays where it is
    torch.testing.assert_close(codebook.codes[2], before, rtol=1e-3, atol=1e-3)
    codebook(x)
    assert (codebook(x).indices == 2).any()


def test_a_code_in_use_is_left_alone_by_revival() -> None:
    codebook, x = dead_and_alive()
    never = copy.deepcopy(codebook)
    never.revive = 0.0
    codebook(x), never(x)
    assert torch.equal(codebook.codes[:2], never.codes[:2])
    assert not torch.equal(codebook.codes[2], never.codes[2])


def test_revival_prefers_features_that_are_badly_served() -> None:
    codebook = Codebook(2, 1, revive=0.5).train()
    codebook._reset(torch.tensor([[0.0], [99.0]]))
    codebook.usage[1] = 0.0
    codebook(torch.cat((0.01 * torch.randn(1000, 1), torch.tensor([[3.0]]))))
    assert codebook.codes[1].item() == pytest.approx(3.0)


def test_without_a_start_the_first_batch_gives_the_codes() -> None:
    codebook, x = Codebook(16, 4).train(), 30 + features(100)
    codebook(x)
    rows = x.flatten(2).transpose(1, 2).reshape(-1, 4)
    gaps = torch.cdist(codebook.codes, rows).min(1).values  # a mean of features, or a feature
    assert gaps.max() < 2
    assert (gaps < 1e-2).sum() >= 8


def test_the_codes_do_not_depend_on_how_often_the_batch_is_repeated() -> None:
    codebook, x = book("moving").train(), features(20)
    codebook.revive = 0.0  # type: ignore[assignment]
    other = copy.deepcopy(codebook)
    codebook(x), other(x.repeat(3, 1, 1, 1))
    torch.testing.assert_close(codebook.codes, other.codes)


def test_evaluation_moves_no_code() -> None:
    codebook = book("moving")
    before = copy.deepcopy(codebook.state_dict())
    codebook(features())
    assert all(torch.equal(before[name], value) for name, value in codebook.state_dict().items())


def test_k_means_finds_clusters_far_apart() -> None:
    centres = 10 * torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    points = (centres[:, None] + 0.1 * torch.randn(16, 100, 2)).flatten(0, 1)
    points = torch.cat((points, 0.1 * torch.randn(3000, 2)))  # most of them in one place
    found = k_means(points, 32)
    assert torch.cdist(centres, found).min(1).values.max() < 0.5


def test_fewer_features_than_codes_will_do() -> None:
    codebook = Codebook(10, 2)
    codebook.fit(torch.randn(3, 2))
    assert torch.isfinite(codebook.codes).all()
    assert torch.isfinite(codebook.train()(torch.randn(1, 2)).z).all()


def _one_of_two(rank: int, x: Tensor, codes: Tensor, store: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(rank)
    codebook = Codebook(len(codes), 4).train()
    codebook._reset(codes)
    codebook.usage[0] = 0.0
    codebook(x[rank::2])
    torch.save(codebook.state_dict(), f"{store}.{rank}")
    torch.distributed.destroy_process_group()


def test_two_processes_agree_and_count_both_halves(tmp_path: Path) -> None:
    """Their codes are equal, dead ones included, and those in use are what one process with all data has."""
    x, codes = features(20), torch.cat((torch.full((1, 4), 50.0), book("moving").get_buffer("codes")))
    store = str(tmp_path / "store")
    mp.start_processes(_one_of_two, (x, codes, store), nprocs=2, start_method="fork")
    first, second = (torch.load(f"{store}.{rank}", weights_only=True) for rank in (0, 1))
    alone = Codebook(8, 4).train()
    alone._reset(codes)
    alone.usage[0] = 0.0
    alone(x)
    for name, value in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name][1:], value[1:])
    assert not torch.equal(first["codes"][0], codes[0])


@EACH
def test_lower_precision_around_it_changes_no_code(name: str) -> None:
    codebook, x = book(name), features(50)
    with torch.autocast("cpu", torch.bfloat16):
        inside = codebook(x)
    assert torch.equal(inside.indices, codebook(x).indices)
    assert inside.z.dtype == torch.float32


# The posterior over codes and its priors


def test_all_mass_is_on_the_code() -> None:
    q = Codes(book("moving")(features()), 7)
    z = q.rsample((3,))
    assert torch.equal(q.log_prob(z), torch.zeros(3, 6))
    assert torch.equal(q.log_prob(z + 1), torch.full((3, 6), -math.inf))
    assert torch.equal(q.mean, q.sample())
    assert torch.equal(q.stddev, torch.zeros_like(z[0]))
    assert torch.equal(q.entropy(), torch.zeros(6))


@EACH
def test_the_uniform_prior_costs_log_k_a_code(name: str) -> None:
    codebook = book(name)
    q, p = Codes(codebook(features()), codebook.size, codebook.depth), UniformCodes(codebook, GRID)()
    nats = 6 * codebook.depth * math.log(codebook.size)
    torch.testing.assert_close(kl_divergence(q, p), torch.full((6,), nats))
    torch.testing.assert_close(p.log_prob(q.rsample((2,))), torch.full((2, 6), -nats))
    z = p.sample((9,))
    torch.testing.assert_close(codebook.lookup(codebook.indices(z), GRID), z)


def awake(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """Weights away from their start, so that nothing is hidden by a zero."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn_like(p))
    return module.eval()


def test_an_untrained_autoregressive_prior_is_the_uniform_one() -> None:
    codebook = book("residual")
    indices = torch.randint(5, (3, 12))
    p, uniform = AutoregressiveCodes(codebook, GRID, 8)(), UniformCodes(codebook, GRID)()
    torch.testing.assert_close(p.log_prob_of(indices), uniform.log_prob_of(indices))


@pytest.mark.parametrize(("codebook", "grid"), [(Codebook(3, 2), (2, 2)), (ResidualCodebook(2, 3, 2), (2,))])
def test_the_probabilities_of_all_grids_sum_to_one(codebook: AnyCodebook, grid: tuple[int, ...]) -> None:
    p = awake(AutoregressiveCodes(codebook, grid, 8, 1, 2), 1.0)()
    everything = torch.tensor(list(itertools.product(range(3), repeat=4)))
    assert p.log_prob_of(everything).double().exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("context", [0, 2])
def test_what_is_sampled_is_as_frequent_as_it_is_probable(context: int) -> None:
    """Chi-square over all 27 sequences; the 0.001 quantile of 26 degrees of freedom is 54.05."""
    part = awake(AutoregressiveCodes(Codebook(3, 2), (3,), 8, 1, 2, context), 1.0)
    p = part(torch.randn(1, context) if context else None)
    everything = torch.tensor(list(itertools.product(range(3), repeat=3)))
    truth = p.log_prob_of(everything[:, None] if context else everything).exp().flatten().double()
    drawn = p.sample_indices((20_000,)).reshape(-1, 3)
    counts = torch.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27)
    assert truth.min() < 0.02 < 0.1 < truth.max()
    assert (((counts - 20_000 * truth) ** 2) / (20_000 * truth)).sum() < 54.05


@pytest.mark.parametrize(("streams", "context"), [(1, 0), (2, 3)])
def test_tokens_completed_one_by_one_have_the_scores_of_the_whole(streams: int, context: int) -> None:
    net = awake(CausalTransformer(5, 8, 16, 2, 4, context, streams))
    seen: list[Tensor] = []

    def choose(scores: Tensor) -> Tensor:
        seen.append(scores)
        return torch.randint(5, (len(scores),))

    c = torch.randn(6, context) if context else None
    tokens = net.complete(6, choose, c)
    torch.testing.assert_close(torch.stack(seen, 1), net(tokens, c), rtol=1e-4, atol=1e-5)


def test_no_score_looks_ahead_and_every_score_looks_back() -> None:
    net = awake(CausalTransformer(5, 6, 16, 2, 4))
    tokens = torch.randint(5, (1, 6))
    for t in range(6):
        changed = tokens.clone()
        changed[0, t] = (changed[0, t] + 1) % 5
        same = (net(tokens) == net(changed)).all(-1)[0]
        assert same[: t + 1].all()
        assert not same[t + 1 :].any()


def test_the_prior_follows_its_context() -> None:
    p = awake(AutoregressiveCodes(book("moving"), GRID, 8, context=2))
    a, b = p(torch.zeros(4, 2)), p(torch.ones(4, 2))
    indices = torch.randint(7, (4, 6))
    assert a.batch_shape == (4,)
    assert not torch.allclose(a.log_prob_of(indices), b.log_prob_of(indices))
    assert a.sample((3,)).shape == (3, 4, 4, *GRID)
    assert a.log_prob(a.sample((3,))).shape == (3, 4)
    mixed = p(torch.cat((torch.zeros(2, 2), torch.ones(2, 2)))).log_prob_of(indices)
    torch.testing.assert_close(mixed[:2], a.log_prob_of(indices)[:2])
    torch.testing.assert_close(mixed[2:], b.log_prob_of(indices)[2:])


def test_the_prior_teaches_neither_encoder_nor_codebook() -> None:
    vae = quantised_vae("learned")
    awake(vae)(pixels()).rate().mean().backward()
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in vae.prior.parameters())


def test_a_prior_learns_the_sequences_it_sees() -> None:
    """Two sequences, equally often: log 2 nats each."""
    p = AutoregressiveCodes(book("moving"), GRID, 16, 1, 2)
    optimiser = torch.optim.Adam(p.parameters(), 0.01)
    known = torch.randint(7, (2, 6))
    for _ in range(150):
        optimiser.zero_grad()
        loss = -p().log_prob_of(known).mean()
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(math.log(2), abs=0.05)
    drawn = p().sample_indices((50,))
    assert ((drawn[:, None] == known).all(-1).any(1)).float().mean() > 0.9


# Whole models


@EACH
@pytest.mark.parametrize("prior", ["uniform", "autoregressive"])
def test_a_quantised_model_keeps_the_shapes_of_a_trace(name: str, prior: str) -> None:
    vae = quantised_vae(name, prior)
    vae.encoder.start(pixels(50))  # type: ignore[operator]
    x = pixels()
    one, many = vae.eval()(x), vae(x, None, (3,))
    assert elbo(one, x).shape == one.draws[0].kl().shape == (5,)
    torch.testing.assert_close(iwae(many, x), elbo(one, x), rtol=1e-4, atol=1e-3)  # every draw is the same
    assert vae.generate(4).mean.shape == (4, *SHAPE)


def test_two_rows_of_context_are_not_mixed_up() -> None:
    vae = awake(quantised_vae(context=2))
    vae.encoder.start(pixels(50), torch.randn(50, 2))  # type: ignore[operator]
    x, c = pixels(), torch.randn(5, 2)
    together = elbo(vae(x, c), x)
    alone = torch.cat([elbo(vae(x[i : i + 1], c[i : i + 1]), x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)
    assert vae.generate(5, c).mean.shape == x.shape


def test_start_puts_the_codes_among_the_features() -> None:
    vae, x = quantised_vae(), pixels(1200)
    vae.eval().encoder.start(x)  # type: ignore[operator]
    q = vae.encode(x)[0]
    assert usage(q.indices, 7) == 1.0  # type: ignore[attr-defined]
    assert q.commitment.mean() < 0.7 * vae.encoder.net(x).flatten(2).var(2).sum(1).mean() * 6  # type: ignore[attr-defined, operator, union-attr]


MODELS: dict[str, Callable[[], VAE]] = {
    **{name: lambda name=name: quantised_vae(name) for name in BOOKS},  # type: ignore[misc]
    "uniform": lambda: quantised_vae(prior="uniform"),
    "relaxed": categorical_vae,
    "straight through": lambda: categorical_vae(StraightThroughGumbelSoftmax),
}


@pytest.mark.parametrize("name", ["moving", "residual", "scalar", "relaxed", "straight through"])
def test_a_step_compiles_into_one_graph(name: str) -> None:
    """With its gradient and its moved buffers, as the fastest way of training takes it."""
    torch.distributions.kl._KL_MEMOIZE.clear()
    torch.compiler.reset()
    model = awake(MODELS[name](), 0.1).train()
    terms = objective().terms if hasattr(model.encoder, "codebook") else {"d": Term(distortion), "r": Term(rate)}
    step, x = Step(model, Objective(terms)), pixels()

    def move(x: Tensor) -> tuple:
        def loss(copies: dict[str, Tensor]) -> tuple:
            buffers = {name: buffer.clone() for name, buffer in step.named_buffers()}
            with torch.autocast("cpu", torch.bfloat16):
                out = torch.func.functional_call(step, copies | buffers, (x, None, torch.ones(len(terms))))
            return out[0], (out[1], buffers)

        return torch.func.grad(loss, has_aux=True)(dict(step.named_parameters()))

    results = []
    for way in (move, torch.compile(move, fullgraph=True, backend="eager")):
        torch.manual_seed(5)
        with torch.no_grad():
            results.append(way(x))
    torch.testing.assert_close(results[1], results[0])
    assert all(torch.isfinite(g).all() for g in results[0][0].values())
    if name in ("moving", "residual"):
        assert any(not torch.equal(b, results[0][1][1][n]) for n, b in step.named_buffers() if "codes" in n)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_survives_its_state_and_copying(name: str) -> None:
    model, other = awake(MODELS[name]()), MODELS[name]().eval()
    if hasattr(model.encoder, "start"):
        model.encoder.start(pixels(50))  # type: ignore[operator]
    assert not any(key.startswith("prior.codebook") for key in model.state_dict())
    other.load_state_dict(model.state_dict())
    x = pixels()
    results = []
    for each in (model, other, copy.deepcopy(model)):
        torch.manual_seed(3)
        results.append(torch.cat((each.generate(4).mean.flatten(), elbo(each(x), x))))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_copied_models_prior_knows_the_copied_codebook() -> None:
    model = copy.deepcopy(quantised_vae())
    assert model.prior.codebook is model.encoder.codebook


def test_reconstruction_teaches_the_encoder_in_training_and_evaluation() -> None:
    for model in (quantised_vae(), categorical_vae()):
        x = pixels()
        for mode in (True, False):
            model.zero_grad()
            distortion(awake(model).train(mode)(x), x).mean().backward()
            assert all(p.grad.abs().max() > 0 for p in model.encoder.parameters())


# Categories


def categories(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 5)


def test_kl_of_relaxed_categories_is_that_of_the_categories() -> None:
    q, p = RelaxedCategorical(categories(), 0.3), HardCategorical(torch.randn(3, 5))
    by_torch = kl_divergence(
        torch.distributions.Categorical(logits=q.log_probs), torch.distributions.Categorical(logits=p.log_probs)
    )
    torch.testing.assert_close(kl_divergence(q, p), by_torch.sum(-1))
    torch.testing.assert_close(Draw(q.rsample(), q, p).kl(), by_torch.sum(-1))
    uniform = UniformCategories(3, 5)()
    torch.testing.assert_close(kl_divergence(q, uniform), 3 * math.log(5) - q.entropy())


def test_log_prob_is_that_of_the_categories() -> None:
    q = HardCategorical(categories())
    z = q.sample((20,))
    by_torch = torch.distributions.OneHotCategorical(logits=q.log_probs).log_prob(z.unflatten(-1, (3, 5))).sum(-1)
    assert z.shape == (20, 4, 15)
    torch.testing.assert_close(q.log_prob(z), by_torch)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_hard_draws_are_one_hot_and_as_frequent_as_they_are_probable(temperature: float) -> None:
    q = HardCategorical(torch.randn(1, 1, 5), temperature)
    z = q.rsample((40_000,))
    assert torch.equal(z.unique(), torch.tensor([0.0, 1.0]))
    assert torch.equal(z.sum(-1), torch.ones(40_000, 1))
    error = (q.mean * (1 - q.mean) / 40_000).sqrt()
    assert ((z.mean(0) - q.mean).abs() < 4.5 * error).all()


def test_relaxed_draws_lie_in_the_simplex_with_the_categorys_argmax() -> None:
    q = RelaxedCategorical(torch.randn(1, 1, 5), 0.5)
    z = q.rsample((40_000,))
    torch.testing.assert_close(z.sum(-1), torch.ones(40_000, 1))
    assert ((z > 0) & (z < 1)).float().mean() > 0.9
    share = torch.bincount(z.argmax(-1).flatten(), minlength=5) / 40_000
    assert ((share - q.mean[0]).abs() < 4.5 * (q.mean[0] * (1 - q.mean[0]) / 40_000).sqrt()).all()


def test_training_relaxes_and_evaluation_does_not() -> None:
    family, raw = GumbelSoftmax(3, 5), categories().flatten(1)
    assert isinstance(family.train()(raw), RelaxedCategorical)
    assert isinstance(family.eval()(raw), HardCategorical)
    assert isinstance(StraightThroughGumbelSoftmax(3, 5).train()(raw), HardCategorical)


def test_the_temperature_anneals() -> None:
    family, raw = GumbelSoftmax(3, 5, start=2.0, end=0.5), categories().flatten(1)
    seen = []
    for progress in (0.0, 0.5, 1.0):
        family.progress.fill_(progress)
        seen.append(float(family(raw).temperature))
    assert seen == pytest.approx([2.0, 1.0, 0.5])
    family.progress.fill_(1.0)
    torch.manual_seed(0)
    cold = family(raw).rsample((500,)).max(-1).values.mean()
    family.progress.fill_(0.0)
    torch.manual_seed(0)
    assert family(raw).rsample((500,)).max(-1).values.mean() < cold


def test_the_straight_gradient_is_that_of_the_relaxed_draw() -> None:
    logits, weight = categories().requires_grad_(), torch.randn(15)
    gradients = []
    for kind in (HardCategorical, RelaxedCategorical):
        torch.manual_seed(0)
        gradients.append(torch.autograd.grad((kind(logits, 0.7).rsample() * weight).sum(), logits)[0])
    torch.testing.assert_close(*gradients)


def test_the_relaxed_gradient_follows_the_expectation() -> None:
    """A cool relaxed draw's mean gradient is about that of the exact expectation of a linear cost."""
    logits, weight = torch.randn(1, 1, 4).requires_grad_(), torch.randn(4)
    cost = (RelaxedCategorical(logits, 0.2).rsample((100_000,)) * weight).sum(-1).mean()
    (sampled,) = torch.autograd.grad(cost, logits)
    (exact,) = torch.autograd.grad((torch.softmax(logits, -1) * weight).sum(), logits)
    torch.testing.assert_close(sampled, exact, rtol=0.1, atol=0.02)


def test_learned_categories_start_uniform_and_follow_the_context() -> None:
    p = LearnedCategories(3, 5, context=2)
    torch.testing.assert_close(p(torch.randn(4, 2)).mean, torch.full((4, 15), 0.2))
    awake(p)
    a = p(torch.randn(4, 2))
    assert a.batch_shape == (4,)
    assert a.sample((2,)).shape == (2, 4, 15)
    assert not torch.allclose(a.mean[0], a.mean[1])
    assert LearnedCategories(3, 5)(None).batch_shape == ()


def test_the_bound_in_evaluation_is_below_the_evidence() -> None:
    """All 9 latents enumerated: the mean of the ELBO's draws is the exact ELBO, and iwae's tends to the evidence."""
    vae, x = awake(categorical_vae()), pixels(3)
    every = torch.stack([torch.cat(pair) for pair in itertools.product(torch.eye(3), repeat=2)])
    with torch.no_grad():
        joint = vae.decode((every[:, None].expand(9, 3, 6),)).log_prob(x) + vae.prior().log_prob(every)[:, None]
        evidence, q = torch.logsumexp(joint, 0), vae.encode(x)[0]
        log_q = q.log_prob(every[:, None])
        exact = (log_q.exp() * (joint - log_q)).sum(0)
        many = vae(x, None, (4000,))
    assert (exact < evidence).all()
    torch.testing.assert_close(elbo(many, x).mean(0), exact, rtol=0, atol=0.1)
    torch.testing.assert_close(iwae(many, x), evidence, rtol=0, atol=0.05)


# Costs and measures


def of_indices(indices: Tensor, size: int, depth: int = 1) -> Trace:
    nothing = torch.zeros(len(indices))
    q = Codes((torch.zeros(len(indices), 1), indices, nothing + 2, nothing + 3), size, depth)  # type: ignore[arg-type]
    return Trace((Draw(q.mean, q, q),), q)


def test_perplexity_counts_the_codes_in_use() -> None:
    x = torch.zeros(8, 1)
    assert perplexity(of_indices(torch.arange(8)[:, None] % 4, 9), x).item() == pytest.approx(4)
    assert perplexity(of_indices(torch.full((8, 2), 3), 9), x).item() == pytest.approx(1)
    skewed = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert perplexity(of_indices(torch.tensor([[0], [0], [0], [5]]), 9), x[:4]).item() == pytest.approx(skewed)
    levels = torch.stack((torch.arange(8), torch.zeros(8, dtype=torch.long)), 1)  # 8 codes at one level, 1 at the other
    assert perplexity(of_indices(levels, 9, depth=2), x).item() == pytest.approx((8 + 1) / 2)
    q = HardCategorical(100 * torch.eye(4)[:, None])
    assert perplexity(Trace((Draw(q.mean, q, q),), q), x).item() == pytest.approx(4)


def test_usage_is_the_fraction_of_codes_seen() -> None:
    assert usage(torch.tensor([[0, 1], [1, 1]]), 4) == 0.5
    assert usage(torch.tensor([[0, 0], [0, 1]]), 4, depth=2) == pytest.approx((0.25 + 0.5) / 2)


def test_costs_are_sums_over_the_draws_that_have_codes() -> None:
    trace, x = of_indices(torch.zeros(4, 1, dtype=torch.long), 2), torch.zeros(4, 1)
    plain = categorical_vae()(pixels(4))
    both = Trace((*trace.draws, *trace.draws, *plain.draws), plain.likelihood)
    assert torch.equal(commitment(both, x), torch.full((4,), 4.0))
    assert torch.equal(codebook_cost(both, x), torch.full((4,), 6.0))
    with pytest.raises(ValueError, match="codebook"):
        commitment(plain, x)


def test_what_passes_straight_through_is_exact() -> None:
    value, carrier = torch.tensor([0.1, 1e-8]), torch.tensor([12345.678, 3e7], requires_grad=True)
    assert torch.equal(straight_through(value, carrier), value)
