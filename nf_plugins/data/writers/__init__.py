"""Writers of the on-disk layouts that our dataparsers read."""
