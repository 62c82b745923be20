"""From a trained forecaster of darts, GluonTS or pytorch-forecasting: its network and its scheme.

Each file makes a module for PyTorch's importer from the forecaster's own layers, which reads the columns of a
`fastgru.forecasting.Scheme` and gives an output for each parameter of a distribution. The library must be installed to
convert, and is not needed to run.
"""
