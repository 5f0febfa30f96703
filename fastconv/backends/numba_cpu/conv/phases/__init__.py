"""This folder convolves with dilated kernels as kernels without dilation, on mosaics of the images' phases."""
