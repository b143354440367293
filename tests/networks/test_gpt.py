"""GPT against transformers' GPT-2, its growth, its cache and its files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from gymnasium import spaces

from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import change_layers
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Layout, Role
from evolab.networks.gpt.files import for_transformers
from evolab.networks.gpt.genes import GPTGenes
from evolab.networks.gpt.gpt import GPT
from evolab.networks.gpt.kernel import TOGETHER
from evolab.networks.token_cache import Cache
from evolab.population.individual import Individual

V, T = 11, 9
SPACE = spaces.MultiDiscrete([V] * T)
ROLES = {"policy": Role(SPACE, V), "value": Role(SPACE, 2 * V + 1, ensemble_size=2)}
MIXED = [GPTGenes((40, 24, 56), 2), GPTGenes((40, 48), 2), GPTGenes((64,), 2), GPTGenes((8,), 2)]


def tokens(agents: int, batch: int = 5, length: int = T, seed: int = 0) -> torch.Tensor:
    return torch.randint(V, (agents, batch, length), generator=torch.Generator().manual_seed(seed))


def group(network: GPT, role: Role, genes: list[GPTGenes], dtype: torch.dtype = torch.float64):
    """The kernel of these agents, their flat row, which entries are awake, and a plain module of each member."""
    layout = Layout.of(network.axes(role, network.capacity(genes)))
    flat = torch.zeros(len(genes), role.ensemble_size, layout.size, dtype=dtype)
    awake = torch.zeros_like(flat, dtype=torch.bool)
    generator = torch.Generator().manual_seed(1)
    modules = []
    for row, gene in enumerate(genes):
        for member in range(role.ensemble_size):
            state = network.initialise(role, gene, generator)
            state = {
                k: (v + 0.1 * torch.randn(v.shape, generator=generator)).to(dtype) for k, v in state.items()
            }
            for name, value in state.items():
                corner = tuple(slice(0, size) for size in value.shape)
                layout.views(flat[row, member])[name][corner] = value
                layout.views(awake[row, member])[name][corner] = True
            modules.append(network.module(role, gene, state))
    return network.kernel(role, genes, layout), flat, awake, modules


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_agents_of_different_shape_answer_as_their_modules(role, by_layer):
    network = GPT(width=16, by_layer=by_layer)
    kernel, flat, awake, modules = group(network, role, MIXED)
    given = tokens(len(MIXED))
    leaf = flat.requires_grad_()
    out = kernel(leaf, given)
    out = out if role.ensemble_size > 1 else out.unsqueeze(1)
    for row in range(len(MIXED)):
        for member in range(role.ensemble_size):
            expected = modules[row * role.ensemble_size + member](given[row])
            assert float((out[row, member] - expected).detach().abs().max()) < 1e-12
    (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
    assert not gradient[~awake].any(), "sleeping entries would move"


def test_large_batches_are_computed_agent_by_agent_with_the_same_result():
    kernel, flat, _, modules = group(GPT(width=16), ROLES["policy"], MIXED, torch.float32)
    given = tokens(len(MIXED), batch=TOGETHER // (16 * T) + 2)
    together, apart = kernel(flat, given[:, :4]), kernel(flat, given)[:, :4]
    assert float((together - apart).abs().max()) < 1e-5
    length = torch.randint(1, T + 1, given.shape[:2], generator=torch.Generator().manual_seed(2))
    inside = torch.arange(T) < length.unsqueeze(-1)
    leaf = flat.clone().requires_grad_()
    gradients = []
    for out in (kernel(leaf, given), kernel(leaf, given, length)):
        gradients += torch.autograd.grad(out[inside].square().mean(), leaf)
    assert float((out[inside] - kernel(flat, given)[inside]).abs().max().detach()) < 1e-5, (
        "places behind the end matter"
    )
    assert torch.allclose(*gradients, atol=1e-6)
    (single,) = kernel(flat, given, member=0)[-1:]
    assert float((single - modules[-1](given[-1])).detach().abs().max()) < 1e-5


def test_the_cache_changes_no_answer():
    kernel, flat, _, modules = group(GPT(width=16), ROLES["policy"], MIXED)
    given = tokens(len(MIXED))
    whole, cache, own = kernel(flat, given), Cache(), Cache()
    pieces = [kernel.decode(flat, given[..., a:b], cache) for a, b in ((0, 1), (1, 4), (4, 5), (5, T))]
    assert float((torch.cat(pieces, 2) - whole).abs().max()) < 1e-12
    pieces = [modules[0](given[0, :, a:b], own) for a, b in ((0, 3), (3, 4), (4, T))]
    assert float((torch.cat(pieces, 1) - whole[0]).detach().abs().max()) < 1e-12
    with pytest.raises(ValueError, match="the sequences have 10 tokens; this GPT's block holds 9"):
        kernel.decode(flat, given[..., :1], cache)


def member_of(network: GPT, genes: GPTGenes) -> Individual:
    member = Individual(0, None, genes, {})
    generator = torch.Generator().manual_seed(3)
    for name, role in ROLES.items():
        drawn = [network.initialise(role, genes, generator) for _ in range(role.ensemble_size)]
        state = {k: torch.stack([one[k] for one in drawn]).double() for k in drawn[0]}
        state = {k: v + 0.1 * torch.randn(v.shape, generator=generator) for k, v in state.items()}
        for kind in ("", ".target", ".mean", ".square"):
            member.tensors[name + kind] = dict(state)
    return member


def answers(network: GPT, member: Individual, given: torch.Tensor) -> list[torch.Tensor]:
    return [
        network.module(role, member.genes, {k: v[i] for k, v in member.tensors[name].items()})(given)
        for name, role in ROLES.items()
        for i in range(role.ensemble_size)
    ]


@pytest.mark.parametrize("what", ["unit", "layer"])
def test_growth_changes_no_answer_and_leaves_room_to_learn(what):
    network, given = GPT(width=16), tokens(1)[0]
    member = member_of(network, GPTGenes((24, 40), 2))
    before = answers(network, member, given)
    context = Context(network, ROLES, {}, 0.1, torch.Generator().manual_seed(0))
    if what == "unit":
        resize(member, context, "hidden.1", 72)
        assert member.genes == GPTGenes((24, 72), 2)
    else:
        for seed in range(9):  # until the coin says "add"
            child = member.child(1)
            change_layers(child, context, np.random.default_rng(seed))
            if len(child.genes.hidden) == 3:
                break
        member = child
        assert member.genes == GPTGenes((24, 40, 40), 2)
    for old, new in zip(before, answers(network, member, given)):
        assert float((old - new).abs().max().detach()) < 1e-12
    added = "expand.weight" if what == "unit" else "attend.weight"
    moments = [v for k, v in member.tensors["policy.mean"].items() if k.endswith(added)][-1]
    assert not (moments[:, 40:] if what == "unit" else moments).any(), "new entries start without moments"
    state = {k: v[0].clone().requires_grad_() for k, v in member.tensors["policy"].items()}
    module = network.module(ROLES["policy"], member.genes, state)
    module(given).log_softmax(-1)[..., 0].sum().backward()
    outgoing = module.block[-1].reduce.weight.grad
    assert bool((outgoing[:, 40:] if what == "unit" else outgoing).any()), "what is new could never learn"


def test_shrinking_keeps_the_busiest_units_and_heads_go_to_divisors():
    network = GPT(width=24)
    member = member_of(network, GPTGenes((24, 40), 2))
    weight = member.tensors["policy"]["block.1.reduce.weight"]  # [1, D, H]
    busiest = weight.abs().sum(1).topk(8, 1).indices.sort(1).values[0]
    context = Context(network, ROLES, {}, 0.1, torch.Generator())
    resize(member, context, "hidden.1", 8)
    assert torch.equal(member.tensors["policy"]["block.1.reduce.weight"], weight[:, :, busiest])
    assert network.resized(GPTGenes((8,), 4), "heads", 5).heads == 6
    assert network.resized(GPTGenes((8,), 8), "heads", 7).heads == 6
    assert network.sizes(GPTGenes((8,), 2))["heads"][:3] == (2, 1, 3)
    resize(member, context, "heads", 3)
    assert member.genes == GPTGenes((24, 8), 3)


def test_genes_survive_json_and_bad_options_are_named():
    network = GPT(width=16)
    assert network.from_json(json.loads(json.dumps(network.to_json(MIXED[0])))) == MIXED[0]
    with pytest.raises(ValueError, match="5 heads don't divide a width of 16"):
        GPT(width=16, heads=5)
    with pytest.raises(TypeError, match=r"GPT needs sequences of tokens, MultiDiscrete"):
        GPT().axes(Role(spaces.Box(-1, 1, (3,)), 2), GPTGenes((8,), 2))
    with pytest.raises(ValueError, match="knows 12 tokens, the environment has 11: the vocabularies"):
        GPT(vocabulary=12).axes(ROLES["policy"], GPTGenes((8,), 2))
    with pytest.raises(ValueError, match="block holds 8 tokens, the environment's sequences have up to 9"):
        GPT(block=8).axes(ROLES["policy"], GPTGenes((8,), 2))


# Hugging Face's form ------------------------------------------------------------------------

CONFIGS = [
    {"n_layer": 2, "n_embd": 32, "n_head": 2},
    {"n_layer": 1, "n_embd": 48, "n_head": 3, "n_inner": 20},
    {"n_layer": 3, "n_embd": 16, "n_head": 4, "scale_attn_by_inverse_layer_idx": True},
    {"n_layer": 2, "n_embd": 40, "n_head": 1, "scale_attn_weights": False, "layer_norm_epsilon": 1e-3},
    {
        "n_layer": 4,
        "n_embd": 24,
        "n_head": 8,
        "tie_word_embeddings": False,
        "activation_function": "gelu_pytorch_tanh",
    },
    {"n_layer": 2, "n_embd": 64, "n_head": 2, "reorder_and_upcast_attn": True, "n_inner": 300},
]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is in the extra `test`")


def theirs(transformers, folder, seed=0, **options):
    """A GPT-2 of transformers' with weights that are far from their first ones, saved to a folder."""
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=20, bos_token_id=None, eos_token_id=None, **options
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = transformers.GPT2LMHeadModel(config).eval()
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn(value.shape))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("options", CONFIGS, ids=range(len(CONFIGS)))
def test_pretrained_weights_answer_as_in_transformers(transformers, tmp_path, options):
    model = theirs(transformers, tmp_path, **options)
    network = GPT.from_pretrained(tmp_path)
    given = torch.randint(50, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(given).logits
    assert float((network(given) - expected).abs().max()) < 1e-5
    with pytest.raises(ValueError, match="have 21 tokens; this GPT's block holds 20"):
        network(torch.zeros(1, 21, dtype=torch.int64))


def test_weights_in_several_files_answer_as_in_transformers(transformers, tmp_path):
    model = theirs(transformers, tmp_path / "one", **CONFIGS[0])
    model.save_pretrained(tmp_path / "several", max_shard_size="20KB")
    (tmp_path / "one" / "config.json").replace(tmp_path / "several" / "config.json")
    assert len(list((tmp_path / "several").glob("model-*.safetensors"))) > 2
    assert not (tmp_path / "several" / "model.safetensors").exists()
    network = GPT.from_pretrained(tmp_path / "several")
    given = torch.randint(50, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert float((network(given) - model(given).logits).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda place, index: index.update(weight_map={}), "has no mapping 'weight_map'"),
        (lambda place, index: index.update(weight_map=["a"]), "has no mapping 'weight_map'"),
        (
            lambda place, index: index["weight_map"].update({"wte": "../model.safetensors"}),
            "wte lies in '../model",
        ),
        (lambda place, index: index["weight_map"].update({"wte": "model.bin"}), "wte lies in 'model.bin'"),
        (lambda place, index: index["weight_map"].update({"wte": 3}), "wte lies in 3"),
        (
            lambda place, index: index["weight_map"].update(
                {"wte": next(iter(index["weight_map"].values()))}
            ),
            "wte is missing, which model.safetensors.index.json says",
        ),
        (lambda place, index: next(place.glob("model-*")).unlink(), "model-0.* is missing"),
        (lambda place, index: next(place.glob("model-*")).write_bytes(b"12345678"), "model-0.* is damaged"),
        (lambda place, index: index["weight_map"].popitem(), "missing; config.json asks for"),
    ],
)
def test_what_is_wrong_with_several_files_is_named(transformers, tmp_path, change, message):
    theirs(transformers, tmp_path / "one", **CONFIGS[0]).save_pretrained(tmp_path, max_shard_size="20KB")
    place = tmp_path / "model.safetensors.index.json"
    index = json.loads(place.read_text())
    change(tmp_path, index)
    place.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(tmp_path)


def test_agents_of_different_layers_load_in_transformers(transformers, tmp_path):
    from safetensors.torch import save_file

    network, role = GPT(width=16), ROLES["policy"]
    _, _, _, modules = group(network, role, MIXED, torch.float32)
    for row, genes in enumerate(MIXED):
        folder = tmp_path / str(row)
        folder.mkdir()
        state = {name: value for name, value in states(modules[row])}
        config, tensors = for_transformers(network.shape(role, genes), genes, state)
        (folder / "config.json").write_text(json.dumps(config))
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        model = transformers.GPT2LMHeadModel.from_pretrained(folder)
        given = tokens(1)[0]
        with torch.no_grad():
            gap = (model(given).logits - modules[row](given)).abs().max()
        assert float(gap) < 1e-5
        assert float((GPT.from_pretrained(folder)(given) - modules[row](given)).detach().abs().max()) < 1e-5


def states(module):
    for name, value in module.state_dict().items():
        if name in ("token.weight", "position.weight"):
            yield name.removesuffix(".weight"), value
        elif "norm" in name:
            yield name.replace(".weight", ".scale").replace(".bias", ".shift"), value
        else:
            yield name, value


@pytest.fixture(scope="module")
def saved(transformers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    theirs(transformers, folder, n_layer=2, n_embd=16, n_head=2)
    return folder


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensors(folder, change):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


BAD = {
    "activation_function is 'relu'": lambda f: change_config(f, activation_function="relu"),
    "model_type is 'llama'": lambda f: change_config(f, model_type="llama"),
    "layer_norm_epsilon is 'x'; a number between 0 and 1": lambda f: change_config(f, layer_norm_epsilon="x"),
    "layer_norm_epsilon is -1": lambda f: change_config(f, layer_norm_epsilon=-1),
    "scale_attn_weights is 'no'; true or false": lambda f: change_config(f, scale_attn_weights="no"),
    "quantization_config is .*; none is expected": lambda f: change_config(
        f, quantization_config={"bits": 4}
    ),
    "pruned_heads is .*; none is expected": lambda f: change_config(f, pruned_heads={"0": [1]}),
    r"ln_f.bias \(float32\) is not made of finite numbers": lambda f: change_tensors(
        f, lambda t: t["transformer.ln_f.bias"].fill_(float("nan"))
    ),
    r"ln_f.bias \(int64\) is not made of finite numbers": lambda f: change_tensors(
        f, lambda t: t.update({"transformer.ln_f.bias": torch.zeros(16, dtype=torch.int64)})
    ),
    "add_cross_attention is True": lambda f: change_config(f, add_cross_attention=True),
    "n_layer is 'two'; a whole number": lambda f: change_config(f, n_layer="two"),
    "3 heads don't divide a width of 16": lambda f: change_config(f, n_head=3),
    r"h.1.ln_1.bias is missing": lambda f: change_tensors(f, lambda t: t.pop("transformer.h.1.ln_1.bias")),
    "h.2.attn.c_attn.bias.* missing": lambda f: change_config(f, n_layer=3),
    "score.weight is not expected": lambda f: change_tensors(
        f, lambda t: t.update({"score.weight": torch.zeros(2)})
    ),
    r"wte.weight has shape \(50, 16\); \(51, 16\)": lambda f: change_config(f, vocab_size=51),
    r"c_fc.weight has shape \(16, 64\); \(16, 60\)": lambda f: change_config(f, n_inner=60),
    "lm_head.weight differs from wte.weight": lambda f: change_tensors(
        f, lambda t: t.update({"lm_head.weight": torch.zeros(50, 16)})
    ),
    r"weights pickled only \(pytorch_model.bin\).*refused": lambda f: (f / "model.safetensors").rename(
        f / "pytorch_model.bin"
    ),
    "model.safetensors is damaged": lambda f: (f / "model.safetensors").write_bytes(b"x" * 100),
    "config.json is damaged": lambda f: (f / "config.json").write_text("{"),
}


@pytest.mark.parametrize("message", BAD)
def test_a_folder_that_does_not_fit_is_refused_by_name(saved, tmp_path, message):
    folder = tmp_path / "gpt2"
    shutil.copytree(saved, folder)
    BAD[message](folder)
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(folder)


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        GPT.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no config.json"):
        GPT.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors"):
        GPT.from_pretrained(tmp_path)


def test_old_files_with_attention_masks_are_read(saved, tmp_path):
    folder = tmp_path / "gpt2"
    shutil.copytree(saved, folder)
    expected = GPT.from_pretrained(folder)(torch.arange(5)[None])

    def older(tensors):
        plain = {name.removeprefix("transformer."): value for name, value in tensors.items()}
        tensors.clear()
        tensors.update(
            plain | {"h.0.attn.bias": torch.ones(1, 1, 20, 20), "h.0.attn.masked_bias": torch.zeros(())}
        )

    change_tensors(folder, older)
    assert torch.equal(GPT.from_pretrained(folder)(torch.arange(5)[None]), expected)
