"""How good generated images and reconstructions are, beside baselines."""
