"""Help from Python and the file system: files, optional packages, types. Nothing of mixtures."""
