"""From a field of view to single cells, and back onto the field."""
