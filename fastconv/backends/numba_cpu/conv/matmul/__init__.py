"""This folder multiplies matrices that are read in place: nothing is packed or gathered."""
