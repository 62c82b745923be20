"""Exported PyTorch programs and TorchScript to Graphs: `table` is that of ATen operators, one file a family of them."""
