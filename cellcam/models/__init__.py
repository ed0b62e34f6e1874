"""Networks, trained models and their folders."""
