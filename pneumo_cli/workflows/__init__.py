"""What pneumo does, from request to result: the functions behind the commands, for notebooks and scripts too."""
