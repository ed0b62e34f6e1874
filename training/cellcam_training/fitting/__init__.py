"""Networks trained on cell tables: recipe, augmentation, training loop, calibration."""
