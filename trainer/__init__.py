"""Speech-emotion models trained on vote distributions: train, predict, evaluate."""

from .checkpoint import ModelInfo, Trained, open_model, read_model_info
from .evaluate import Evaluation, evaluate
from .loop import train
from .predict import Prediction, predict, read_prediction

__all__ = [
    "Evaluation",
    "ModelInfo",
    "Prediction",
    "Trained",
    "evaluate",
    "open_model",
    "predict",
    "read_model_info",
    "read_prediction",
    "train",
]
