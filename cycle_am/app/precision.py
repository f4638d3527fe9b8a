"""Which precision suits the hardware."""

import torch


def best_precision(accelerator: str) -> str:
    """`bf16-mixed` where the processor multiplies bfloat16 itself, else `32-true`.

    Without such units bfloat16 is some ten times slower on CPUs. `accelerator`: Lightning's name, e.g. "auto", "cpu".
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    units = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16-mixed" if any(getattr(torch.cpu, unit, lambda: False)() for unit in units) else "32-true"
