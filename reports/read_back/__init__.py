"""Reading back objects of our kind: structured reports, segmentations, outlines in reports and presentation states.

In: DICOM datasets as they came. Out: frozen types of numbers, masks and outlines, each saying what it refers to.
This room never fetches anything and never decides whether an object may be used: it says what is in it.
"""
