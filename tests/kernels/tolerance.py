"""How close a kernel must come to its reference: one rule, for all of them.

An op's error against its reference in f64 may be at most twice that of plain PyTorch at the op's own precision, or a
few roundings of the result's type where PyTorch happens to be (almost) exact.
"""

from collections.abc import Callable
from typing import Any

import torch
from cases import error
from torch import Tensor

# Triton's interpreter rounds bf16 wrongly: only a GPU tests it.
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if torch.cuda.is_available() else [])]
# On a GPU an f32 exponential is approximate, and an f32 product is three of tf32, whose sums tensor cores truncate.
ROUNDING = {
    torch.float32: 2.0**-18 if torch.cuda.is_available() else 2.0**-22,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}


def on_cpu(value: Any, wide: bool = False) -> Any:
    """Tensors, and dataclasses of tensors, where references run; in f64 if wide."""
    if isinstance(value, Tensor):
        return value.cpu().double() if wide and value.is_floating_point() else value.cpu()
    if hasattr(value, "__dataclass_fields__"):
        return type(value)(**{name: on_cpu(getattr(value, name), wide) for name in value.__dataclass_fields__})
    return value


def assert_close(got: Tensor, reference: Callable[..., Tensor], *args: Any, eager: Tensor | None = None) -> None:
    """`got` against reference(*args). `eager`: what plain PyTorch gives at this precision, if not the reference."""
    exact = reference(*(on_cpu(arg, wide=True) for arg in args))
    plain = reference(*map(on_cpu, args)) if eager is None else eager
    assert got.shape == exact.shape
    allowed = max(2 * error(plain, exact), ROUNDING[got.dtype])
    assert error(got, exact) <= allowed, f"error {error(got, exact):.2e}, allowed {allowed:.2e}"
