"""Integrated Grad-CAM. Depends on torch and numpy alone, and knows no microscopy."""
