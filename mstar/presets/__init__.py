"""Published data sets as problem files: which there are, where they come from, and how they are written.

catalogue (the sets and presets, their licences and splits), sources (their files, wherever they lie),
archives (images in zip files), pictures (the bytes and the look of each image), reading (rows that can be
used), screening (training problems that stand in test sets), writing (problem files with images beside them),
provenance, preparing (a preset from end to end), comparing (files of one's own). A preset's folder is the
same whenever it is made from the same sources: there are no dates in it.
"""

from mstar.presets.catalogue import PRESETS, Preset

__all__ = ["PRESETS", "Preset"]
