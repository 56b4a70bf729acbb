"""Extensions for every trainer: early stopping and mixup. Off unless ``--with`` asks for them."""
