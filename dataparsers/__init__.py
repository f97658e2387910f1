"""One module per on-disk format: the DataParserSpecification objects that nerfstudio registers."""
