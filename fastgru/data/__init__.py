"""The demo's trained network and its pulse recording; tests/data/make_demo.py makes both."""
