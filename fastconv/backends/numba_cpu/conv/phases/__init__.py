"""This folder convolves with dilated kernels as kernels without dilation, on the phases of the images."""
