"""MLflow for pneumo: an observer, off unless ``--with mlflow`` asks for it."""
