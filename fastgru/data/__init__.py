"""The demo's trained network and its series; tests/data/make_demo.py makes both."""
