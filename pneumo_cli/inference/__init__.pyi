from pneumo_cli.inference.predict import predict as predict
from pneumo_cli.inference.predictor import BatchPrediction as BatchPrediction
from pneumo_cli.inference.predictor import Prediction as Prediction
from pneumo_cli.inference.predictor import Predictor as Predictor
from pneumo_cli.inference.predictors import EnsemblePredictor as EnsemblePredictor
from pneumo_cli.inference.predictors import RunPredictor as RunPredictor
from pneumo_cli.inference.predictors import open_predictor as open_predictor
