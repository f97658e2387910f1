"""From recordings to layouts that our dataparsers read: what nf-process-data does."""
