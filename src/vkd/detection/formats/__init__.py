"""The formats in which detection data come, each turned into raw content in COCO's format.

``coco``, ``yolo`` and ``voc`` find the splits of a folder; what they read goes through the one pass
of ``vkd.detection.annotations``.
"""
