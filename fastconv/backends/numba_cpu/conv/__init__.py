"""Algorithms for convolutions, one folder each; plan.py and job_arguments.py are what their plans have in common.

implicit_gemm/   a matrix product whose right operand exists a block at a time: any convolution
direct/          pixels read in place, from planes of some rows: few channels, large images
winograd/        3 x 3 kernels in fewer multiplications
image_lanes/     as many images at once as a vector has lanes: small images in large batches
channel_lanes/   target channels in the lanes, a pixel at a time: strides, large dilations, short rows
matmul/          1 x 1 kernels and dense layers: matrices read where they lie
depthwise/       one channel to a group, at the speed of memory
plane_lanes/     one channel to a group, as many small planes at once as a vector has lanes
phases/          dilated kernels as kernels without dilation, on every second or third pixel
column_matrix/   input gradients as a product and a sum over taps
"""
