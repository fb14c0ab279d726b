"""How every figure here is measured: `timing` of calls, and the `roofline` that says how fast they could be."""
