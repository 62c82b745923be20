"""fastgru beside what users have today, on the CPU: ``python -m bench`` measures, ``python -m bench.report`` draws.

::

    cases.toml --cases.py--> Problem --engines/*.py--> Run --measure.py--> results.json --report.py--> tables, plots
    what is run              weights and input          a call, checked     times            README

One engine is one file of `bench.engines`; what it must know of a real model, a `bench.network.Network` says, made by
`bench.real`. This module imports nothing: the process is pinned before NumPy loads.
"""
