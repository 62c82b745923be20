"""ONNX files to Graphs: `operators` is the table of operators, one file a family of them."""
