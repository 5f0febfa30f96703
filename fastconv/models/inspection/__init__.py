"""Looking into a trained run: what it gets right, what it makes of a picture, what is in it, and taking it along.

:mod:`.trained` opens a run, :mod:`.datasets` and :mod:`.picture_files` find images for it; the other modules do one
thing each with what they give, and :mod:`.commands` puts them on the command line.
"""
