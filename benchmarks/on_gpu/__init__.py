"""The parts of ``gpu.py``: what is measured on a graphics card, and how it is written down."""
