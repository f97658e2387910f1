"""Dynamic scenes and neural surfaces as nerfstudio methods."""
