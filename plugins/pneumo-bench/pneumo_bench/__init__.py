"""Speed: how fast this machine trains, where the time goes, how far from the limit (``pneumo bench``)."""
