"""This algorithm has target channels in the lanes, and multiplies them by one pixel's channels after another."""
