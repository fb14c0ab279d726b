"""A plain module, run through the fused ops.

The module is traced once; running it walks the graph. A convolution's result is kept as it is, and what follows, norm,
activation, x2 upsampling, concatenation, is only noted (`Pending`) for whoever reads it: the next convolution applies
it as it reads. Any other operator is PyTorch's own, on tensors that are written first, so that every module runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.export.graph_signature import InputKind
from torch.fx import Interpreter, Node
from torch.fx.node import map_aggregate

from fetfast.kernels.configs import Config, Shape, choose
from fetfast.ops.conv import Affine, Filter, conv, shape_of
from fetfast.ops.norm_act import statistics
from fetfast.ops.upcat import Part, upcat
from fetfast.spec import Stage

aten = torch.ops.aten
TRACING = Lock()  # torch.export patches PyTorch itself while it traces
FLOATS = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(eq=False)
class Pending:
    """The concatenation of `parts`, none of it written yet, that PyTorch would hold as `dtype`."""

    parts: tuple[Part, ...]
    dtype: torch.dtype
    norm: tuple[Node, Tensor] | None = None  # of the one part, bare, that this is: the norm to come, known already
    written: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        B, _, H, W = self.parts[0].shape
        return B, sum(part.shape[1] for part in self.parts), H, W

    def each(self, change: Callable[[Part], Part]) -> Pending:
        return Pending(tuple(change(part) for part in self.parts), self.dtype)

    def bare(self) -> Tensor | None:
        """The image that this is, if nothing is pending but a cast."""
        only = self.parts[0]
        bare = len(self.parts) == 1 and only.norm is None and only.slope == 1 and only.up == "none"
        return only.x if bare else None

    def tensor(self) -> Tensor:
        """Written, channels-last."""
        if self.written is None:
            first = self.parts[0]
            if (bare := self.bare()) is not None:
                self.written = bare.to(self.dtype)
            elif len(self.parts) <= 2:
                self.written = upcat(first, self.parts[1] if len(self.parts) == 2 else None).to(self.dtype)
            else:
                self.written = torch.cat([upcat(part).to(self.dtype) for part in self.parts], 1)
        return self.written


class Network(Interpreter):
    """A stage's module with its weights, as a function of named tensors f32 [B, ...] that gives such.

    Everything that it allocates it takes from PyTorch's allocator, so that a CUDA graph can be captured of a call
    once a first call has compiled the kernels and laid out the weights.
    """

    def __init__(self, module: nn.Module, stage: Stage, choose: Callable[[Shape], Config] = choose) -> None:
        place = next((t.device for t in module.state_dict().values()), torch.device("cpu"))
        examples = {t.name: torch.zeros(2, *t.shape, device=place) for t in stage.inputs}
        dynamic = {name: {0: Dim("batch")} for name in examples}
        with TRACING, torch.no_grad():
            program = torch.export.export(module, (), examples, dynamic_shapes=dynamic, strict=False)
        super().__init__(program.graph_module)
        self.choose = choose
        self.outputs = [output.name for output in stage.outputs]
        state = {**program.state_dict, **program.constants}
        self.order = [
            (spec.arg.name, None) if spec.kind == InputKind.USER_INPUT else (spec.target, state[str(spec.target)])
            for spec in program.graph_signature.input_specs
        ]
        given = [name for name, value in self.order if value is None]
        assert sorted(given) == sorted(examples), f"traced inputs {given}"
        self.named = list(torch.utils._pytree.tree_unflatten(range(len(self.outputs)), program.call_spec.out_spec))
        nodes = list(program.graph_module.graph.nodes)
        placeholders = [node for node in nodes if node.op == "placeholder"]
        fixed = {node: value for node, (_, value) in zip(placeholders, self.order, strict=True) if value is not None}
        self.folded = _folded(nodes, fixed)
        self.fixed = fixed.keys() | self.folded.keys()
        self.filters: dict[Node, Filter] = {}  # of weights that no input changes, laid out once

    @torch.no_grad()
    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        results = self.run(*(inputs[str(name)] if value is None else value for name, value in self.order))
        return dict(zip(self.named, results, strict=True))

    def run_node(self, node: Node) -> Any:
        if node in self.folded:
            return self.folded[node]
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if node.op == "call_function" and node.target in FUSED:
            result = FUSED[node.target](self, node, *args, **kwargs)
            if result is not NotImplemented:
                return result
        written: Any = map_aggregate((args, kwargs), lambda v: v.tensor() if isinstance(v, Pending) else v)
        return getattr(self, node.op)(node.target, *written)

    def filter(self, node: Node, weight: Tensor, bias: Tensor | None, stride: int, transposed: bool) -> Filter:
        """The weights of convolution `node`, as the kernel reads them."""
        if node in self.filters:
            return self.filters[node]
        filter = Filter.pack(weight, bias, stride, transposed)
        if all(arg in self.fixed for arg in node.args[1:3] if isinstance(arg, Node)):
            self.filters[node] = filter
        return filter

    def norm_after(self, node: Node) -> tuple[Node, Affine] | None:
        """The first instance norm that reads what `node` gives, perhaps through a cast, if its weights are there."""
        for user in node.users:
            if user.target == aten.to.dtype:
                return self.norm_after(user)
            if user.target == aten.instance_norm.default and user.args[5]:
                weight, bias = user.args[1:3]
                if any(isinstance(arg, Node) and arg not in self.env for arg in (weight, bias)):
                    continue  # made after the convolution
                weight, bias = (_float(self.env[arg]) if isinstance(arg, Node) else None for arg in (weight, bias))
                return user, Affine(weight, bias, cast(float, user.args[7]))
        return None


def _folded(nodes: Iterable[Node], fixed: Mapping[Node, Tensor]) -> dict[Node, Any]:
    """What the graph computes of the weights alone, such as a cast or a standardisation: done once."""
    known: dict[Node, Any] = dict(fixed)
    for node in nodes:
        op = node.target
        if not isinstance(op, torch._ops.OpOverload) or not node.all_input_nodes:
            continue
        pure = not op._schema.is_mutable and torch.Tag.nondeterministic_seeded not in op.tags
        if pure and known.keys() >= {*node.all_input_nodes}:
            args, kwargs = map_aggregate((node.args, node.kwargs), lambda v: known[v] if isinstance(v, Node) else v)
            with torch.no_grad():
                known[node] = op(*args, **kwargs)
    return {node: value for node, value in known.items() if node not in fixed}


def _float(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.float()


def _pending(x: Any) -> Pending:
    return x if isinstance(x, Pending) else Pending((Part(x),), x.dtype)


def _readable(x: Pending, dtype: torch.dtype) -> bool:
    """Whether a convolution by weights of this type can read x as it is: an f32 one takes halves too."""
    kinds = FLOATS if dtype == torch.float32 else (dtype,)
    few = len(x.parts) <= 2 and len({part.x.dtype for part in x.parts}) == 1
    return few and all(part.up in ("none", "nearest") and part.x.dtype in kinds for part in x.parts)


def _channels_last(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


def _conv2d(
    net: Network, node: Node, x: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = (1, 1),
    padding: Any = (0, 0), dilation: Any = (1, 1), groups: int = 1, transposed: bool = False,
) -> Any:  # fmt: skip
    k = weight.shape[-1]
    regular = tuple(padding) == ((k - 1) // 2,) * 2 and tuple(stride) in ((1, 1), (2, 2)) and groups == 1
    if not regular or tuple(dilation) != (1, 1) or weight.shape[2] != k or weight.dtype not in FLOATS:
        return NotImplemented
    if transposed and (k, stride[0]) != (4, 2):
        return NotImplemented
    x = _pending(x)
    if not _readable(x, weight.dtype):
        x = _pending(x.tensor())
    parts = [replace(part, x=_channels_last(part.x)) for part in x.parts]
    first, second = parts[0], parts[1] if len(parts) == 2 else None
    filter = net.filter(node, weight, bias, stride[0], transposed)
    config = net.choose(shape_of(first, second, filter))
    if config.library:
        return NotImplemented
    reader, affine = net.norm_after(node) or (None, None)
    y, norm = conv(first, second, filter, norm=affine, config=config)
    return Pending((Part(y),), y.dtype, (reader, norm) if reader is not None and norm is not None else None)


def _conv_transpose2d(
    net: Network, node: Node, x: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = (1, 1),
    padding: Any = (0, 0), output_padding: Any = (0, 0), groups: int = 1, dilation: Any = (1, 1),
) -> Any:  # fmt: skip
    if any(output_padding):
        return NotImplemented
    return _conv2d(net, node, x, weight, bias, stride, padding, dilation, groups, transposed=True)


def _instance_norm(
    net: Network, node: Node, x: Any, weight: Tensor | None, bias: Tensor | None, mean: Any, var: Any,
    from_input: bool, momentum: float, eps: float, cudnn: bool,
) -> Any:  # fmt: skip
    if not from_input or len(x.shape) != 4:
        return NotImplemented
    x = _pending(x)
    image = x.bare()  # a cast to f32 before the norm changes nothing
    if image is None:
        image = x.tensor()
    if x.norm is not None and x.norm[0] is node:
        norm = x.norm[1]
    else:
        norm = statistics(image, _float(weight), _float(bias), eps)
    return Pending((Part(image, norm),), x.dtype)


def _leaky_relu(net: Network, node: Node, x: Any, slope: float = 0.01) -> Any:
    """Slopes multiply, for what keeps its sign; between bilinear upsampling and activation, order matters."""
    if not isinstance(x, Pending) or slope < 0 or any(part.up.startswith("bilinear") for part in x.parts):
        return NotImplemented
    return x.each(lambda part: replace(part, slope=part.slope * slope))


def _relu(net: Network, node: Node, x: Any) -> Any:
    return _leaky_relu(net, node, x, 0.0)


def _upsample(net: Network, node: Node, x: Any, size: Any, factors: Any, up: str = "nearest") -> Any:
    twice = list(factors) == [2.0, 2.0] if factors is not None else list(size) == [2 * n for n in x.shape[2:]]
    if not isinstance(x, Pending) or not twice or any(part.up != "none" for part in x.parts):
        return NotImplemented
    return x.each(lambda part: replace(part, up=up))


def _upsample_bilinear(net: Network, node: Node, x: Any, size: Any, corners: bool, factors: Any) -> Any:
    return _upsample(net, node, x, size, factors, "bilinear_corners" if corners else "bilinear")


def _cat(net: Network, node: Node, images: list[Any], dim: int = 0) -> Any:
    if dim != 1 or not any(isinstance(x, Pending) for x in images):
        return NotImplemented
    pending = [_pending(x) for x in images]
    if len({p.dtype for p in pending} | {part.x.dtype for p in pending for part in p.parts}) > 1:
        return NotImplemented
    return Pending(tuple(part for p in pending for part in p.parts), pending[0].dtype)


def _to(net: Network, node: Node, x: Any, dtype: torch.dtype, *args: Any) -> Any:
    return replace(x, dtype=dtype, written=None) if isinstance(x, Pending) and dtype in FLOATS else NotImplemented


FUSED: dict[Any, Callable[..., Any]] = {
    aten.conv2d.default: _conv2d,
    aten.conv_transpose2d.input: _conv_transpose2d,
    aten.instance_norm.default: _instance_norm,
    aten.leaky_relu.default: _leaky_relu,
    aten.relu.default: _relu,
    aten.upsample_nearest2d.vec: _upsample,
    aten.upsample_bilinear2d.vec: _upsample_bilinear,
    aten.cat.default: _cat,
    aten.to.dtype: _to,
    aten._assert_tensor_metadata.default: lambda *_, **__: None,
}
