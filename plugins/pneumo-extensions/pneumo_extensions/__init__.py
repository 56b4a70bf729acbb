"""Extensions for every trainer: early stopping, mixup, compilation. Off unless ``--with`` asks for them."""
