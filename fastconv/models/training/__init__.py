"""The trainer: :mod:`.train` runs a recipe, :mod:`.compare` sets the backends side by side."""
