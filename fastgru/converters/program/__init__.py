"""Tensors of any source as values of the graph: axes labelled with batch and time, views of them, ops emitted."""
