"""Winograd's minimal filtering on patches of 4 x 4 pixels (patches.py): forward.py and weight_grad.py."""
