"""One module per paper: the MethodSpecification objects that nerfstudio registers."""
