from pneumo_cli.reports.figures.galleries import Row as Row
from pneumo_cli.reports.figures.galleries import image_grid as image_grid
from pneumo_cli.reports.figures.galleries import labelled_rows as labelled_rows
from pneumo_cli.reports.figures.galleries import lines as lines
