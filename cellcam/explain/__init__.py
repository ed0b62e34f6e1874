"""Integrated Grad-CAM. Depends on torch and numpy alone, and knows no microscopy.

`integrated_gradcam` is what is called. `network` sees a model as trunk and head, `integration`
integrates along paths from a baseline to an image.
"""
