"""The main job: find, crop, classify, explain, paste."""
