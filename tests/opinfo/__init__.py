"""torch's own samples: the inputs by which PyTorch tests its functions and layers, put to fastconv's."""
