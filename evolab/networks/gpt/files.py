"""GPT-2 weights in the form of Hugging Face: a folder with `config.json` and `model.safetensors`, or several of those.

Weights are matched by name. There a product is stored as (in, out), here as (out, in).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.core import checks
from evolab.networks.base import State
from evolab.networks.gpt.genes import GPTGenes, Shape
from evolab.storage.files import Damaged, plain_size, read_json

CONFIG, TENSORS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
GELU = ("gelu_new", "gelu_pytorch_tanh")
BLOCK = {
    "norm1.scale": "ln_1.weight", "norm1.shift": "ln_1.bias", "attend.weight": "attn.c_attn.weight",
    "attend.bias": "attn.c_attn.bias", "merge.weight": "attn.c_proj.weight", "merge.bias": "attn.c_proj.bias",
    "norm2.scale": "ln_2.weight", "norm2.shift": "ln_2.bias", "expand.weight": "mlp.c_fc.weight",
    "expand.bias": "mlp.c_fc.bias", "reduce.weight": "mlp.c_proj.weight", "reduce.bias": "mlp.c_proj.bias",
}  # fmt: skip
"""Names within a block, ours to theirs."""

WHOLE = {
    "token": "wte.weight",
    "position": "wpe.weight",
    "norm.scale": "ln_f.weight",
    "norm.shift": "ln_f.bias",
}
SHARD = re.compile(r"[\w-][\w.-]*\.safetensors")
"""A file beside its index."""

MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")
"""Constants that old files hold."""


def read_folder(folder: str | PathLike[str]) -> tuple[dict[str, Any], GPTGenes, State]:
    """Options, genes and parameters from a folder; see `GPT.from_pretrained`."""
    path = checks.path("folder", folder)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path} to read a GPT-2 from; nothing is downloaded.")
    _find(path)
    config = read_json(path / CONFIG)
    if not isinstance(config, dict):
        raise Damaged(f"{path / CONFIG} is damaged: it holds no mapping.")
    options = _options(config, path / CONFIG)
    layers, units = options["layers"], options["feed_forward"]
    genes = GPTGenes((units,) * layers, options["heads"])
    if (path / TENSORS).exists():
        return options, genes, _state(_tensors(path / TENSORS), options, genes, path / TENSORS)
    return options, genes, _state(_sharded(path / INDEX), options, genes, path / INDEX)


def _find(path: Path) -> None:
    if not (path / CONFIG).exists():
        raise FileNotFoundError(f"{path} has no {CONFIG}; a folder in the form of Hugging Face is expected.")
    if (path / TENSORS).exists() or (path / INDEX).exists():
        return
    pickled = sorted(one.name for one in path.iterdir() if one.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickled:
        raise ValueError(
            f"{path} holds its weights pickled only ({', '.join(pickled)}), and loading those executes whatever "
            f"is in them: refused. Save them again with model.save_pretrained(folder), which writes {TENSORS}."
        )
    raise FileNotFoundError(f"{path} has no {TENSORS}, nor {INDEX} of several.")


def _options(config: Mapping[str, object], where: Path) -> dict[str, Any]:
    """What the configuration asks for, where this GPT can compute it."""

    def refuse(name: str, expected: str) -> ValueError:
        return ValueError(
            f"{where}: {name} is {config.get(name)!r}; {expected}. This GPT does not compute it."
        )

    def whole(name: str, default: object = None) -> int:
        value = config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**7:
            raise ValueError(f"{where}: {name} is {value!r}; a whole number of at least 1 is expected.")
        return value

    def flag(name: str, default: bool) -> bool:
        value = config.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{where}: {name} is {value!r}; true or false is expected.")
        return value

    eps = config.get("layer_norm_epsilon", 1e-5)
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 < eps < 1:
        raise ValueError(
            f"{where}: layer_norm_epsilon is {eps!r}; a number between 0 and 1 is expected, such as 1e-5."
        )
    if config.get("model_type", "gpt2") != "gpt2":
        raise refuse("model_type", "'gpt2' is expected")
    if config.get("activation_function", "gelu_new") not in GELU:
        raise refuse("activation_function", f"one of {', '.join(GELU)} is expected")
    if flag("add_cross_attention", False):
        raise refuse("add_cross_attention", "False is expected")
    for name in ("quantization_config", "pruned_heads"):
        if config.get(name):
            raise refuse(name, "none is expected")
    width, heads = whole("n_embd"), whole("n_head")
    units = 4 * width if config.get("n_inner") is None else whole("n_inner")
    return {
        "layers": whole("n_layer"),
        "width": width,
        "heads": heads,
        "feed_forward": units,
        "block": whole("n_positions", config.get("n_ctx")),
        "vocabulary": whole("vocab_size"),
        "tied": flag("tie_word_embeddings", True),
        "eps": float(eps),
        "scaled": flag("scale_attn_weights", True),
        "by_layer": flag("scale_attn_by_inverse_layer_idx", False),
        # `reorder_and_upcast_attn` is the same sum in an order that matters in half precision alone.
    }


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    plain_size(path)
    try:
        return load_file(path)
    except Exception as error:  # safetensors' own type is no public name in all versions
        raise Damaged(f"{path} is damaged: {error}") from error


def _sharded(index: Path) -> dict[str, Tensor]:
    """The tensors of all the files that an index names; every name in it must be where it says."""
    content = read_json(index)
    where = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(where, dict) or not where:
        raise Damaged(f"{index} is damaged: it has no mapping 'weight_map' of names to files.")
    files: dict[str, list[str]] = {}
    for name, file in where.items():
        if not isinstance(file, str) or not SHARD.fullmatch(file):
            raise Damaged(
                f"{index} is damaged: {name} lies in {file!r}; a .safetensors file beside it is expected."
            )
        files.setdefault(file, []).append(name)
    found: dict[str, Tensor] = {}
    for file, names in files.items():
        there = _tensors(index.parent / file)
        missing = sorted(set(names) - set(there))
        if missing:
            raise Damaged(
                f"{index.parent / file} is damaged: {_listed(missing)} missing, which {INDEX} says it has."
            )
        found |= {name: there[name] for name in names}
    return found


def _state(found: dict[str, Tensor], options: dict[str, Any], genes: GPTGenes, where: Path) -> State:
    found = {name.removeprefix("transformer."): value for name, value in found.items()}
    found = {name: value for name, value in found.items() if not MASK.fullmatch(name)}
    if options["tied"] and "lm_head.weight" in found and "wte.weight" in found:
        if not torch.equal(found["lm_head.weight"], found["wte.weight"]):
            raise ValueError(
                f"{where}: lm_head.weight differs from wte.weight although {CONFIG} says that they are tied. "
                f"Write tie_word_embeddings: false there."
            )
        del found["lm_head.weight"]
    names = parameter_names(len(genes.hidden), options["tied"])
    missing = sorted(set(names.values()) - set(found))
    if missing:
        raise ValueError(f"{where}: {_listed(missing)} missing; {CONFIG} asks for {len(names)} tensors.")
    extra = sorted(set(found) - set(names.values()))
    if extra:
        raise ValueError(f"{where}: {_listed(extra)} not expected in a GPT-2 of {len(genes.hidden)} layers.")
    state: State = {}
    width, units = options["width"], options["feed_forward"]
    shapes = {
        "token": (options["vocabulary"], width), "position": (options["block"], width),
        "attend.weight": (3 * width, width), "attend.bias": (3 * width,), "merge.weight": (width, width),
        "expand.weight": (units, width), "expand.bias": (units,), "reduce.weight": (width, units),
        "output.weight": (options["vocabulary"], width),
    }  # fmt: skip
    for ours, theirs in names.items():
        if not found[theirs].is_floating_point() or not bool(found[theirs].isfinite().all()):
            kind = str(found[theirs].dtype).removeprefix("torch.")
            raise ValueError(f"{where}: {theirs} ({kind}) is not made of finite numbers with a fraction.")
        value = found[theirs].to(torch.float32)
        value = value.t().contiguous() if _crossed(theirs) and value.dim() == 2 else value
        expected = shapes.get(re.sub(r"block\.\d+\.", "", ours), (width,))
        if tuple(value.shape) != expected:
            shape = expected[::-1] if _crossed(theirs) else expected
            raise ValueError(
                f"{where}: {theirs} has shape {tuple(found[theirs].shape)}; {shape} is expected."
            )
        state[ours] = value
    return state


def parameter_names(layers: int, tied: bool) -> dict[str, str]:
    """Every parameter's name here and there."""
    blocks = {
        f"block.{index}.{ours}": f"h.{index}.{theirs}"
        for index in range(layers)
        for ours, theirs in BLOCK.items()
    }
    return {**WHOLE, **blocks, **({} if tied else {"output.weight": "lm_head.weight"})}


def _crossed(theirs: str) -> bool:
    return ".c_" in theirs and theirs.endswith(".weight")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"


# What is written ------------------------------------------------------------------------------


def for_transformers(
    shape: Shape, genes: GPTGenes, state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of one agent in Hugging Face's form.

    There all feed-forward layers are equally wide: narrower ones are filled up with units that do nothing.

    Args:
        shape: heads, eps and how attention is scaled.
        genes: its architecture.
        state: its parameters, without a leading axis.
    """
    units = max(genes.hidden)
    vocabulary, width = state["token"].shape
    tensors: dict[str, Tensor] = {}
    for ours, theirs in parameter_names(len(genes.hidden), "output.weight" not in state).items():
        value = state[ours].detach().cpu()
        if "expand." in ours:
            value = F.pad(value, [0] * (2 * (value.dim() - 1)) + [0, units - value.shape[0]])
        elif ours.endswith("reduce.weight"):
            value = F.pad(value, [0, units - value.shape[1]])
        name = theirs if theirs == "lm_head.weight" else f"transformer.{theirs}"
        tensors[name] = (value.t() if _crossed(theirs) else value).contiguous().clone()
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_positions": state["position"].shape[0],
        "n_embd": width,
        "n_layer": len(genes.hidden),
        "n_head": genes.heads,
        "n_inner": units,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": shape.eps,
        "scale_attn_weights": shape.scaled,
        "scale_attn_by_inverse_layer_idx": shape.by_layer,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": "output.weight" not in state,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return config, tensors
