"""PyTorch checkpoints and chains of modules to Graphs; `torch_export` takes any other module."""
