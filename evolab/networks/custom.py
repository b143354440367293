"""Any torch module as a network: one template, and a population of parameters that it is called with."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from evolab.core.readonly import frozen_options
from evolab.core.shown import own_name
from evolab.core.trees import Tree
from evolab.networks.base import CALLS, CHANGED, Axes, Axis, Layout, Role, State
from evolab.networks.fixed import FixedNetwork, NoGenes
from evolab.networks.kernel import Kernel
from evolab.networks.observations import encode, features


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class Stack(FixedNetwork):
    """A population of any plain module, made by a function of yours.

    Args:
        factory: `factory(inputs, outputs)`, or `factory(observation_space, extra, outputs)` where the
            module has to know the shape of an observation. It gives a module that maps features
            [B, inputs] to [B, outputs]: the observation flattened (0..255 divided by 255, one-hot,
            concatenated), behind it `extra` entries, such as the action that a critic values.

    Raises:
        TypeError: not a function of two or three arguments, or it gives no module.
        ValueError: the module fails on a batch, gives another shape, draws at random (dropout) or
            remembers its batches (batch normalisation); all before training starts.

    Parameters that do not require a gradient, and buffers, are the same for all agents.

    >>> from gymnasium import spaces
    >>> network = Stack(lambda inputs, outputs: nn.Linear(inputs, outputs))
    >>> network.template(Role(spaces.Box(-1, 1, (3,)), 2))
    Linear(in_features=3, out_features=2, bias=True)
    """

    factory: Callable[..., nn.Module]
    _templates: dict[Hashable, nn.Module] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.factory) or self._arity() not in (2, 3):
            raise TypeError(
                f"Stack: factory is {self.factory!r}; a function factory(inputs, outputs) or "
                f"factory(observation_space, extra, outputs) that makes a torch module is expected."
            )

    def _arity(self) -> int:
        try:
            parameters = inspect.signature(self.factory).parameters.values()
        except ValueError:  # a type of Python's own, which tells nothing
            return 0
        plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return sum(one.kind in plain and one.default is one.empty for one in parameters)

    def template(self, role: Role) -> nn.Module:
        """The module that answers for one role, checked; its own parameters are placeholders."""
        key = (repr(role.observation_space), role.extra, role.outputs)
        if key not in self._templates:
            self._templates[key] = self._checked(self._made(role, 0), role)
        return self._templates[key]

    def _made(self, role: Role, seed: int) -> nn.Module:
        """A module as the factory draws it. Torch's own generator is borrowed, and given back unchanged."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if self._arity() == 3:
                module = self.factory(role.observation_space, role.extra, role.outputs)
            else:
                module = self.factory(features(role.observation_space) + role.extra, role.outputs)
        if not isinstance(module, nn.Module):
            raise TypeError(f"{self._name}: it gave {type(module).__name__}; a torch.nn.Module is expected.")
        return module

    def _checked(self, module: nn.Module, role: Role) -> nn.Module:
        inputs = features(role.observation_space) + role.extra
        trainable = [value for value in module.parameters() if value.requires_grad]
        if not trainable:
            raise ValueError(f"{self._name}: the module has no parameter to train.")
        x = torch.linspace(-1, 1, 4 * inputs, dtype=trainable[0].dtype).view(4, inputs)
        before = {name: value.clone() for name, value in module.named_buffers()}
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                first, second = module(x), module(x)
            except Exception as error:  # a module of the user's may raise anything
                raise ValueError(
                    f"{self._name}: the module fails on features of shape {tuple(x.shape)}: {error}"
                ) from error
        if not isinstance(first, Tensor) or first.shape != (4, role.outputs):
            came = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
            raise ValueError(
                f"{self._name}: for features of shape {tuple(x.shape)} the module gives {came}; "
                f"{(4, role.outputs)} is expected, one column per output."
            )
        if any(not torch.equal(value, before[name]) for name, value in module.named_buffers()):
            raise ValueError(
                f"{self._name}: the module remembers its batches (batch normalisation does), which agents "
                f"cannot share. Use LayerNorm or GroupNorm."
            )
        if not torch.equal(first, second):
            raise ValueError(
                f"{self._name}: the module draws at random. Leave dropout out, or call eval() on it."
            )
        return module

    @property
    def _name(self) -> str:
        return f"Stack({own_name(self.factory)})"

    def axes(self, role: Role, genes: NoGenes) -> Axes:
        """The module's parameters under their own names; a scalar is [1]."""
        return {
            name: tuple(Axis(size) for size in value.shape or (1,))
            for name, value in self.template(role).named_parameters()
            if value.requires_grad
        }

    def initialise(self, role: Role, genes: NoGenes, generator: torch.Generator) -> State:
        """As the factory draws them."""
        seed = int(torch.randint(2**62, (), generator=generator))
        drawn = dict(self._made(role, seed).named_parameters())
        shapes = self.axes(role, genes)
        return {
            name: drawn[name].detach().reshape([axis.size for axis in axes]).clone()
            for name, axes in shapes.items()
        }

    def kernel(self, role: Role, genes: Sequence[NoGenes], layout: Layout) -> StackKernel:
        """One call of the module per agent and member."""
        return StackKernel(role, self.template(role), layout)

    def cost(self, role: Role, genes: NoGenes) -> float:
        """The number of parameters, as if each were used once per row of the batch."""
        return float(role.ensemble_size * Layout.of(self.axes(role, genes)).size)

    def module(self, role: Role, genes: NoGenes, state: State) -> nn.Module:
        """A module as the factory makes it, with these parameters."""
        module = copy.deepcopy(self.template(role)).to(next(iter(state.values())).dtype)
        with torch.no_grad():
            for name, value in module.named_parameters():
                if name in state:
                    value.copy_(state[name].view(value.shape))
        return module

    def describe(self, genes: NoGenes) -> str:
        """The factory's name."""
        return self._name


class StackKernel(Kernel):
    """The pass of one role: the template called with each row's parameters in turn."""

    def __init__(self, role: Role, template: nn.Module, layout: Layout) -> None:
        self.role, self.layout = role, layout
        self._shapes = {name: value.shape for name, value in template.named_parameters()}
        self._sizes = [torch.Size(shape).numel() for shape in layout.shapes]
        self._template = copy.deepcopy(template)

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs; see `Kernel`. The extra inputs stand behind the features."""
        x = encode(self.role.observation_space, observation, 2, flat.dtype)
        x = x if extra is None else torch.cat([x, extra], -1)
        self._template.to(device=flat.device, dtype=flat.dtype)
        pieces = flat.split(self._sizes, -1)
        state = {
            name: piece.reshape(*piece.shape[:2], *self._shapes[name])
            for name, piece in zip(self.layout.names, pieces, strict=True)
        }
        members = range(self.role.ensemble_size) if member is None else [member]
        agents = [
            torch.stack([self._one(state, agent, index, x[agent]) for index in members])
            for agent in range(flat.shape[0])
        ]
        out = torch.stack(agents)  # [P, M, B, O]
        return out.squeeze(1) if len(members) == 1 else out

    def _one(self, state: State, agent: int, index: int, x: Tensor) -> Tensor:
        own = {name: value[agent, index] for name, value in state.items()}
        return torch.func.functional_call(self._template, own, (x,))
