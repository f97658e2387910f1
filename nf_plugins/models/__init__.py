"""One nerfstudio Model per paper."""
