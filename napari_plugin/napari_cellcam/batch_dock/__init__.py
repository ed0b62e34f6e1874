"""The dock that works through a folder."""
