"""Keras 2 and 3 models, files and live, to Graphs: `layers` is the table of layers, one file a family of them."""
