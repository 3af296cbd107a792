"""Speech-emotion models trained on vote distributions: train, predict, evaluate."""

from .checkpoint import Model, ModelInfo, Trained, open_model, read_model_info
from .loop import train
from .predict import Prediction, predict, read_prediction
from .scoring.compare import Comparison, compare
from .scoring.evaluate import Evaluation, evaluate

__all__ = [
    "Comparison",
    "Evaluation",
    "Model",
    "ModelInfo",
    "Prediction",
    "Trained",
    "compare",
    "evaluate",
    "open_model",
    "predict",
    "read_model_info",
    "read_prediction",
    "train",
]
