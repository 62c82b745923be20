"""fastgru beside what users have today, on the CPU: ``python -m bench`` measures, ``python -m bench.report`` draws.

::

    cases.toml --cases.py--> Problem --engines/*.py--> Run --measure.py--> results.json --report.py--> tables, plots
    what is run              weights and input          a call, checked     times            README

One engine is one file of `bench.engines`. This module imports nothing: the process is pinned before NumPy loads.
"""
