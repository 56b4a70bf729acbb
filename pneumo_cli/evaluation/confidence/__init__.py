"""How sure a number is: intervals over patients, and the bootstrap behind them."""
