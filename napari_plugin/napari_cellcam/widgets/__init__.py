"""Small widgets that both docks use."""
