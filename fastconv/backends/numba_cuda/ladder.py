"""The rungs by name, as ``backend="cuda:<rung>"`` forces one and the planner chooses among them."""

ALGORITHMS = ("definition", "tiled", "gemm", "direct", "depthwise", "tf32")
