"""Load, quantise, place and download models. Modules import torch only inside functions."""
