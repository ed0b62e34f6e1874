"""The dock that classifies, explains, corrects and trains."""
