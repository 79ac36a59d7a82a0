"""Using trained models: prediction, drawing, videos, COCO-format results, the shipped models."""
