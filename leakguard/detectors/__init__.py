"""Pure plug-ins that turn a series into a trend. One file each."""
