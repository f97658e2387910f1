"""One nerfstudio Field per family."""
