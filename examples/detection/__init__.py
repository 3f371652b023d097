"""A small detector, its data as files of YOLO, and claims on both."""
