"""Python conformance workers with one fault planted.

Each fault breaks one thing in the inside of the SDK and leaves the rest as it is, so that a kit which judges right fails
exactly the points that are about it.
"""
