"""One network seen as trunk and head at its target layer."""
